#!/bin/bash
# Owns the compiler and linker of the BPF programs. Prints, for `eval` or make:
#
#   BPF_RUSTC=PATH      a stable compiler that brings `core` for BPF; empty: use rustup's nightly
#                       with -Zbuild-std=core
#   BPF_LINKER=PATH     bpf-linker, built against the libLLVM of that compiler
#
# First choice is Debian's rustc-web, because it needs no nightly and no download beyond the
# Debian mirror; else nightly and rust-src through rustup. The linker reads the compiler's
# bitcode, so a new LLVM below the compiler (Debian updates both) means that it must be built again.
#
#   $CACHE/bpf-tools/bin/bpf-linker, $CACHE/bpf-tools/llvm/lib/libLLVM.so
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

bpf_linker=0.13.0
tools=$CACHE/bpf-tools
linker=$tools/bin/bpf-linker
debian_rustc=/usr/bin/rustc

has_debian_rustc() {
    [ -x "$debian_rustc" ] && compgen -G '/usr/lib/rustlib/bpfel-unknown-none/lib/libcore-*.rlib' >/dev/null
}

has_nightly() {
    command -v rustup >/dev/null && rustc +nightly --version >/dev/null 2>&1 &&
        [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library/core" ]
}

install_nightly() {
    command -v rustup >/dev/null || die "the BPF program needs Debian's rustc-web or rustup's nightly; neither is to be had"
    say "installing nightly Rust with rust-src"
    quietly rustup toolchain install nightly --profile minimal --component rust-src ||
        die "could not install nightly Rust"
}

# Prints the libLLVM that a program or library is linked to.
llvm_of() {
    ldd "$1" 2>/dev/null | sed -nE 's|.* => (/.*/libLLVM[^ ]*) .*|\1|p' | head -n 1
}

# Ensures that there is a bpf-linker on the libLLVM of the given compiler command. It checks the linker itself, not a
# note about it, so that a library that was updated or moved shows at once.
need_linker() {
    local driver llvm major
    # In rustup's toolchains only the driver library names LLVM, in Debian's the program does too.
    driver=$(compgen -G "$("$@" --print sysroot)/lib/librustc_driver-*.so" | head -n 1) || driver=$1
    llvm=$(llvm_of "$driver")
    [ -n "$llvm" ] || die "$* is not linked to a shared libLLVM"
    [ "$("$linker" --version 2>/dev/null)" != "bpf-linker $bpf_linker" ] ||
        [ "$(readlink -f "$(llvm_of "$linker")")" != "$(readlink -f "$llvm")" ] || return 0

    command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup"
    "$here/packages.sh" build
    major=$("$@" -vV | sed -nE 's/^LLVM version: ([0-9]+).*/\1/p')
    say "building bpf-linker $bpf_linker for LLVM $major (some two minutes, once)"
    # One symlink under the name the linker's build looks for stands in for llvm-dev.
    mkdir -p "$tools/llvm/lib"
    ln -sfn "$llvm" "$tools/llvm/lib/libLLVM.so"
    # The caller may be a build of the BPF program: its compiler and flags are not for this.
    quietly env -u RUSTC -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET -u CARGO_TARGET_DIR \
        LLVM_PREFIX="$tools/llvm" RUSTFLAGS="-Clink-arg=-Wl,-rpath,${llvm%/*}" \
        cargo install bpf-linker --version "$bpf_linker" --locked --force --root "$tools" \
        --no-default-features --features "llvm-$major" ||
        die "could not build bpf-linker $bpf_linker for LLVM $major"
}

"$here/packages.sh" objcopy
lock_cache bpf-tools
if has_debian_rustc || { ! has_nightly && "$here/packages.sh" bpf && has_debian_rustc; }; then
    need_linker "$debian_rustc"
    echo "BPF_RUSTC=$debian_rustc"
else
    has_nightly || install_nightly
    need_linker rustc +nightly
    echo "BPF_RUSTC="
fi
echo "BPF_LINKER=$linker"
