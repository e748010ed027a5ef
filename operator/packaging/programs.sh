#!/bin/bash
# Builds the released programs, `vrfgate` and `vrfgate-cni`: static, small, and the same bytes wherever the same compiler
# builds them. Image and Debian package hold the same files. Prints one line, for `eval` or make:
#
#   programs.sh [--arch amd64|arm64] [--version VERSION]
#
#   PROGRAMS=DIR         target/packaging/VERSION-ARCH/programs
#
# VRFGATE_PROFILE=unpacked builds them quickly, for tests.
#
# With another --version than Cargo.toml's, the programs of this tree report that version, for tests of upgrades.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

parse_options "$@"
"$tools/packages.sh" build

target=$(rust_target "$arch")
built=$target_dir/packaging/$version-$arch/programs
profile=${VRFGATE_PROFILE:-dist}

# Another version is built from a copy of the sources, in which only the version differs.
tree=$root
if [ "$version" != "$own_version" ]; then
    tree=$target_dir/packaging/$version-source
    mkdir -p "$tree"
    (cd "$root" && tar -cf - Cargo.toml Cargo.lock cni e2e ebpf operator) | tar -C "$tree" -xf -
    sed -i "s/^version = \"$own_version\"$/version = \"$version\"/" "$tree/Cargo.toml"
    (cd "$tree" && quietly cargo update --workspace --offline) || die "could not give the sources version $version"
fi

toolchain=() flags=''
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    [ "$arch" = arm64 ] || die "--arch $arch: only arm64 can be made on another architecture"
    found=$("$tools/rust-arm64.sh")
    eval "$found"
    toolchain=("CC_${target//-/_}=$ARM64_LINKER" CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$ARM64_LINKER")
    [ -z "$ARM64_RUSTC" ] || toolchain+=("RUSTC=$ARM64_RUSTC")
    [ -z "$ARM64_SYSROOT" ] || flags=" --sysroot=$ARM64_SYSROOT"
fi

# glibc, because Rust's musl target is not everywhere; and no path of the build machine gets in. Both flags are the same
# for every version, so that dependencies are built once.
flags="-C target-feature=+crt-static$flags \
--remap-path-prefix=$root=/vrfgate --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
# If a test calls this, cargo has set variables about that test, for which it would rebuild some dependencies.
unset "${!CARGO_PKG_@}" "${!CARGO_MANIFEST_@}"
# Without SOURCE_DATE_EPOCH, for which cargo would rebuild C code of dependencies with every commit, to the same bytes.
(cd "$tree" && env -u SOURCE_DATE_EPOCH "${toolchain[@]}" RUSTFLAGS="$flags" cargo build --quiet --locked --profile "$profile" --target "$target" --target-dir "$target_dir" \
    -p vrfgate-operator -p vrfgate-cni --bins) >&2 || die "could not build the programs for $target"

mkdir -p "$built"
for program in vrfgate vrfgate-cni; do
    install -m 755 "$target_dir/$target/$profile/$program" "$built/$program"
done
echo "PROGRAMS=$built"
