#!/bin/bash
# Owns the reference plugins of CNI, and the tool that runs a chain of them, for tests. Prints one line, for `eval`
# or make:
#
#   CNI_PLUGINS=DIR      with bridge, host-local, tuning, vrf and cnitool
#
# They are built from their Go modules, once, and kept:
#
#   $CACHE/cni/VERSION-OF-THE-PLUGINS/
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=go.sh
. "$here/go.sh"

plugins=v1.9.0
cnitool=v1.3.0 # of the CNI library that these plugins are built with
go_version=1.24.2 # what these plugins ask for
programs=(bridge host-local tuning vrf cnitool)
built=$CACHE/cni/$plugins

build() {
    local go
    go=$(need_go "$go_version" "$built")
    say "building the reference plugins of CNI, $plugins (once)"
    mkdir -p "$built"
    # Static, because a VM with another file system may be where they run.
    quietly env CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-trimpath GOBIN="$built/.new" "$go" install \
        "github.com/containernetworking/plugins/plugins/main/bridge@$plugins" \
        "github.com/containernetworking/plugins/plugins/ipam/host-local@$plugins" \
        "github.com/containernetworking/plugins/plugins/meta/tuning@$plugins" \
        "github.com/containernetworking/plugins/plugins/meta/vrf@$plugins" &&
        quietly env CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-trimpath GOBIN="$built/.new" "$go" install \
            "github.com/containernetworking/cni/cnitool@$cnitool" ||
        die "could not build the reference plugins of CNI"
    mv "$built/.new"/* "$built/"
    rmdir "$built/.new"
}

lock_cache cni
for program in "${programs[@]}"; do
    [ -x "$built/$program" ] || {
        build
        break
    }
done
echo "CNI_PLUGINS=$built"
