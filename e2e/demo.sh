#!/usr/bin/env bash
# `make demo`: what vrfgate is for, before and after, on a kernel with VRFs: this machine's own if it has them,
# otherwise a Debian kernel in a VM. With --check, it ends with a line that says whether everything was as it should be,
# in the form that `make test` counts.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tools/lib.sh
. "$here/tools/lib.sh"

"$here/tools/packages.sh" build lab
cd "$here/.."
cargo build --quiet --workspace --bin vrfgate
target=$(readlink -f "${CARGO_TARGET_DIR:-target}")
scratch=$target/demo
mkdir -p "$scratch"
# Debug information would take a VM long to read.
strip --strip-debug -o "$scratch/vrfgate" "$target/debug/vrfgate"

host_has_vrfs() {
    as_root ip link add vrfgate-probe type vrf table 4242 2>/dev/null &&
        as_root ip link del vrfgate-probe
}

show=("$here/demo-guest.sh" "$scratch/vrfgate" "$scratch")
if host_has_vrfs; then
    run=(as_root "${show[@]}")
else
    "$here/tools/packages.sh" vm
    read -r _ version vmlinuz < <("$here/tools/kernels.sh" 6.12)
    echo "This kernel ($(uname -r)) has no VRFs: starting Debian's $version in a VM."
    run=("$here/tools/vm.sh" --kernel "$vmlinuz" --rwdir "$scratch" -- "${show[@]}")
fi

if [ "${1:-}" != --check ]; then
    "${run[@]}"
elif "${run[@]}"; then
    echo "test result: ok. 1 passed; 0 failed;"
else
    echo "test result: FAILED. 0 passed; 1 failed;"
    exit 1
fi
