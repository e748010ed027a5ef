#!/bin/bash
# `make bench-traffic`: what the gate costs traffic, on this machine's kernel; if that has no VRFs, also through a VRF in
# a VM that counts instructions. Tables, and target/bench/traffic*.json.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tools/lib.sh
. "$here/tools/lib.sh"
cd "$here/.."

"$here/tools/packages.sh" build lab bench
target=$(readlink -m "${CARGO_TARGET_DIR:-target}")
build=(cargo bench -p vrfgate-ebpf --bench traffic --no-run)
"${build[@]}" --quiet
bench=$("${build[@]}" 2>&1 | sed -nE 's|.*Executable .*\((.*)\)$|\1|p')
[ -n "$bench" ] || die "cargo does not say where it has put the benchmark"
bench=$(readlink -f "$bench")
mkdir -p "$target/bench"

say "on this machine's kernel"
as_root env BENCH_DIR="$target/bench" ${ROUNDS:+ROUNDS="$ROUNDS"} "$bench" --bench
if as_root ip link add vrfgate-probe type vrf table 4242 2>/dev/null; then
    as_root ip link del vrfgate-probe
    exit 0
fi

read -r _ version vmlinuz < <("$here/tools/kernels.sh" 6.12)
say "on $version, in a VM that counts instructions"
"$here/tools/vm.sh" --kernel "$vmlinuz" --icount --timeout 1800 --rwdir "$target/bench" -- \
    env BENCH_DIR="$target/bench" INSTRUCTIONS=1 "$bench" --bench
