#!/bin/bash
# `make bench-cni`: what ADD of the CNI plugin costs, on this machine's kernel and, if that has no VRFs, on one in a VM,
# too. Tables, and target/bench/cni-RELEASE.json.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tools/lib.sh
. "$here/tools/lib.sh"
cd "$here/.."

"$here/tools/packages.sh" build lab
plugins=$("$here/tools/cni-plugins.sh" | sed 's/^CNI_PLUGINS=//')
target=$(readlink -m "${CARGO_TARGET_DIR:-target}")
# Static, as nodes get it.
host=$(rustc -vV | sed -n 's/^host: //p')
static=(env RUSTFLAGS="-C target-feature=+crt-static" cargo bench -p vrfgate-cni --bench add --no-run --target "$host")
"${static[@]}" --quiet
bench=$("${static[@]}" 2>&1 | sed -nE 's|.*Executable .*\((.*)\)$|\1|p')
[ -n "$bench" ] || die "cargo does not say where it has put the benchmark"
bench=$(readlink -f "$bench")
mkdir -p "$target/bench"
environment=(BENCH_DIR="$target/bench" CNI_PLUGINS="$plugins")

say "on this machine's kernel"
as_root env "${environment[@]}" "$bench"
if as_root ip link add vrfgate-probe type vrf table 4242 2>/dev/null; then
    as_root ip link del vrfgate-probe
    exit 0
fi

read -r _ version vmlinuz < <("$here/tools/kernels.sh" 6.12)
say "on $version, in a VM"
# Programs are copied into the VM's memory: reads from this machine's files would favour the smaller plugin. The one that
# does nothing is static, as the plugins are.
in_vm='modprobe bridge; mkdir /run/bench && cp "$2"/{vrf,tuning} "$1" /run/bench/ && cp /bin/busybox /run/bench/true && cp "$3" /run/bench/add && shift 3 &&
    exec env "$@" CNI_PLUGINS=/run/bench VRFGATE_CNI=/run/bench/vrfgate-cni NOTHING=/run/bench/true /run/bench/add'
"$here/tools/vm.sh" --kernel "$vmlinuz" --cpus 1 --timeout 1200 --rwdir "$target/bench" -- \
    bash -c "$in_vm" bench "$target/$host/release/vrfgate-cni" "$plugins" "$bench" BENCH_DIR="$target/bench"
