#!/bin/bash
# Owns a container runtime for tests: containerd, which a kubelet talks to, and runc from Debian. Prints two lines,
# for `eval` or make:
#
#   CONTAINERD=DIR       with containerd, containerd-shim-runc-v2 and ctr
#   RUNC=PATH
#
# Debian's containerd is too old to ask a CNI plugin for its STATUS, so it is built from its Go module, once, and kept:
#
#   $CACHE/containerd/VERSION/
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=go.sh
. "$here/go.sh"

version=v2.2.9
go_version=1.25.0 # what this version asks for
programs=(containerd containerd-shim-runc-v2 ctr)
built=$CACHE/containerd/$version

build() {
    local go packages=("${programs[@]/#/github.com/containerd/containerd/v2/cmd/}")
    packages=("${packages[@]/%/@$version}")
    go=$(need_go "$go_version" "$built")
    say "building containerd $version (some minutes, once)"
    mkdir -p "$built"
    # Static, because a VM with another file system may be where they run; and without what no test needs.
    quietly env CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-trimpath GOBIN="$built/.new" "$go" install \
        -tags no_btrfs,no_devmapper,no_zfs,no_tracing -ldflags "-s -w \
            -X github.com/containerd/containerd/v2/version.Version=$version" \
        "${packages[@]}" ||
        die "could not build containerd $version"
    mv "$built/.new"/* "$built/"
    rmdir "$built/.new"
}

lock_cache containerd
for program in "${programs[@]}"; do
    [ -x "$built/$program" ] || {
        build
        break
    }
done
"$here/packages.sh" runc
echo "CONTAINERD=$built"
echo "RUNC=$(PATH=$PATH:/usr/sbin:/sbin command -v runc)"
