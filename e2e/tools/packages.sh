#!/bin/bash
# Installs the Debian packages that one kind of work needs; does nothing if they are installed.
#
#   packages.sh GROUP...        groups: build, bpf, objcopy, kernels, vm, lab, bench, etcd, runc, image, deb, arm64
#
# No service of an installed package is started or left enabled: the lab runs its own sshd and
# unbound in its own namespaces, and a developer's machine must not gain open ports by `make test`.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

packages_of() {
    case $1 in
    build) echo gcc g++ libc6-dev make git ca-certificates curl pkg-config ;;
    bpf) echo rustc-web libstd-rust-web-dev-bpf gcc g++ libc6-dev ;;
    objcopy) echo llvm ;; # the only objcopy that knows BPF objects
    kernels) echo debian-archive-keyring ca-certificates kmod xz-utils ;;
    vm) echo iproute2 qemu-system-x86 binutils file busybox-static kmod python3 python3-venv ca-certificates ;;
    lab) echo iproute2 python3 openssh-server frr nftables ipvsadm unbound strace procps kmod ;;
    bench) echo iproute2 nftables haproxy ;;
    etcd) echo etcd-server ;;
    runc) echo runc ;;
    image) echo umoci jq binutils file git ;;
    deb) echo debhelper dpkg-dev fakeroot git systemd ;; # systemd for systemd-analyze, which checks a unit
    arm64) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ;;
    *) die "unknown group '$1'; groups: build, bpf, objcopy, kernels, vm, lab, bench, etcd, runc, image, deb, arm64" ;;
    esac
}

# Package scripts ask policy-rc.d before they start anything; 101 means no. An existing
# file is somebody's decision, and stays.
forbid_service_starts() {
    [ ! -e "$policy" ] || return 0
    printf '#!/bin/sh\n# temporary, by vrfgate packages.sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    trap 'as_root rm -f "$policy"' EXIT
    as_root chmod 755 "$policy"
}

# Debian enables a server for the next boot when it installs it. This undoes that, only for servers that were new.
disable() {
    local unit name=$1
    as_root update-rc.d "$name" disable >/dev/null 2>&1 || true
    command -v systemctl >/dev/null || return 0
    for unit in "$name.service" "$name.socket"; do
        as_root systemctl disable "$unit" >/dev/null 2>&1 || true
    done
}

[ $# != 0 ] || die "usage: packages.sh GROUP... (build, bpf, objcopy, kernels, vm, lab, bench, etcd, runc, image, deb, arm64)"
policy=/usr/sbin/policy-rc.d
wanted=()
for group; do
    read -ra names <<<"$(packages_of "$group")"
    wanted+=("${names[@]}")
done
mapfile -t missing < <(missing_packages "${wanted[@]}")
[ "${#missing[@]}" != 0 ] || exit 0

forbid_service_starts
need_packages "${missing[@]}"
[[ " ${missing[*]} " != *" openssh-server "* ]] || disable ssh
[[ " ${missing[*]} " != *" frr "* ]] || disable frr
[[ " ${missing[*]} " != *" unbound "* ]] || disable unbound
[[ " ${missing[*]} " != *" haproxy "* ]] || disable haproxy
