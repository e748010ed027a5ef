#!/usr/bin/env bash
# Builds the BPF programs, each into an object of its own: build.sh DIRECTORY
#
# Needs in the environment (e2e/tools/bpf-toolchain.sh prints both):
#   BPF_LINKER  bpf-linker
#   BPF_RUSTC   a rustc with a precompiled core for bpfel-unknown-none (Debian's rustc-web); when empty,
#               rustup's nightly with rust-src compiles core itself
# The same source and compiler give the same bytes wherever they are: paths are mapped away.
set -euo pipefail

out=$(realpath -m "${1:?usage: build.sh DIRECTORY}")
linker=${BPF_LINKER:?set BPF_LINKER to bpf-linker: eval "$(e2e/tools/bpf-toolchain.sh)"}
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$(dirname "$(dirname "$here")")/target}/bpf
cargo_home=${CARGO_HOME:-$HOME/.cargo}

# What the caller's own build sets would reach this one.
unset RUSTFLAGS RUSTC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_ENCODED_RUSTFLAGS RUSTUP_TOOLCHAIN
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET

toolchain=()
if [ -n "${BPF_RUSTC:-}" ]; then
    # The BPF target needs no unstable library, but aya-ebpf asks for unstable features of the language.
    RUSTC_BOOTSTRAP=aya_ebpf,$("$here/names.sh" | paste -sd,)
    export RUSTC=$BPF_RUSTC RUSTC_BOOTSTRAP
    build=(build)
else
    toolchain=(+nightly)
    build=(build -Zbuild-std=core)
fi

sources=$(dirname "$here")
export CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER=$linker
export CARGO_ENCODED_RUSTFLAGS="-Cdebuginfo=2"$'\x1f'"-Clink-arg=--btf"$'\x1f'"--remap-path-prefix=$sources=/ebpf"$'\x1f'"--remap-path-prefix=$cargo_home/registry/src=/registry"
cd "$here"
cargo "${toolchain[@]}" "${build[@]}" --quiet --locked --release --target bpfel-unknown-none --target-dir "$target"

mkdir -p "$out"
for name in $("$here/names.sh"); do
    # DWARF only served to make the BTF.
    llvm-objcopy --strip-debug "$target/bpfel-unknown-none/release/$name" "$out/$name.bpf.o"
done
