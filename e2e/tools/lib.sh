# shellcheck shell=bash
# Shared parts of the tools: one cache directory, messages on stderr, root where root is needed, and Debian packages that
# are installed only if they are missing. Sourced, never run.

CACHE=${VRFGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vrfgate}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "needs root or sudo for: $*"
    fi
}

# Runs a command whose output matters only when it fails; then all of it goes to stderr.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    [ "$status" = 0 ] || cat "$log" >&2
    rm -f "$log"
    return "$status"
}

# One process at a time may change one part of the cache; the others wait for it. The lock
# ends with the process. Background jobs that outlive it must close descriptor 9.
lock_cache() {
    mkdir -p "$CACHE"
    exec 9>"$CACHE/$1.lock"
    flock --wait 1800 9 || die "gave up waiting for another process that holds $CACHE/$1.lock"
}

# Prints those of the named packages that are not installed.
missing_packages() {
    local installed name
    # dpkg-query fails when it does not know one of them, and still prints the others.
    installed=" $({ dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null || true; } |
        sed -n 's/^ii *//p' | tr '\n' ' ')"
    for name; do
        [[ $installed == *" $name "* ]] || printf '%s\n' "$name"
    done
}

# Installs missing packages. The package index is refreshed only when an installation from the
# index at hand fails: on a new machine it is empty, on an old one it names files long gone.
need_packages() {
    local missing
    command -v dpkg-query >/dev/null || die "this is not a Debian-like machine; install yourself: $*"
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" != 0 ] || return 0
    say "installing ${missing[*]}"
    lock_cache apt
    apt_install "${missing[@]}" >/dev/null 2>&1 && return
    quietly as_root apt-get -q update || say "apt-get update failed; trying with the index at hand"
    quietly apt_install "${missing[@]}" || die "could not install: ${missing[*]}"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        --no-install-recommends install "$@"
}
