# shellcheck shell=bash
# Programs that cargo installs, for the tools that own one of them. Sourced, never run.

# Prints the path of PROGRAM: the one on PATH, or VERSION of it, built once and kept:
#
#   $CACHE/PROGRAM/VERSION/bin/PROGRAM
need_cargo_program() {
    local program=$1 version=$2 built=$CACHE/$1/$2
    command -v "$program" && return
    lock_cache "$program"
    if ! [ -x "$built/bin/$program" ]; then
        say "building $program $version (some minutes, once)"
        # Unoptimised: they are built more often than they have much to do.
        quietly cargo install --debug --locked --root "$built" --version "$version" "$program" ||
            die "could not build $program $version"
    fi
    echo "$built/bin/$program"
}
