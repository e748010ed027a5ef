#!/usr/bin/env bash
# Where the BPF objects come from, as text to keep beside them: provenance.sh DIRECTORY
#
# Same source and same toolchain must give the same objects; `make test` holds us to it. Needs BPF_RUSTC and
# BPF_LINKER in the environment, as build.sh does.
set -euo pipefail

objects=$(realpath "${1:?usage: provenance.sh DIRECTORY}")
here=$(cd "$(dirname "$0")" && pwd)
rustc=("${BPF_RUSTC:-rustc}")
[ -n "${BPF_RUSTC:-}" ] || rustc=(rustc +nightly)

hash() { sha256sum | cut -d' ' -f1; }

cd "$here/.."
echo "source   $(find abi program -type f \( -name '*.rs' -o -name '*.toml' -o -name 'Cargo.lock' -o -name build.sh \) \
    -not -path '*/target/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | hash)"
echo "rustc    $("${rustc[@]}" -vV | sed -n 's/^rustc //p; s/^LLVM version: /LLVM /p' | paste -sd' ')"
echo "linker   $("${BPF_LINKER:?}" --version)"
echo "objcopy  $(llvm-objcopy --version | sed -n 's/.*LLVM version //p')"
for name in $("$here/names.sh"); do
    echo "object   $(hash <"$objects/$name.bpf.o") $name"
done
