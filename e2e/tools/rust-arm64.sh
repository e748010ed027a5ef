#!/bin/bash
# Owns what makes arm64 programs on an amd64 machine. Prints, for `eval` or make:
#
#   ARM64_RUSTC=PATH       a compiler that has Rust's standard library for arm64; empty: the one on PATH
#   ARM64_SYSROOT=DIR      where that library is; empty: where the compiler looks by itself
#   ARM64_LINKER=PATH      which is also the C compiler
#
# Where rustup has the target, or can get it, that is used; else Debian's rustc-web, and the library of the same version
# out of the arm64 archive. That is unpacked, never installed: the machine's apt learns of no other architecture.
#
#   $CACHE/rust-arm64/VERSION/lib/rustlib/
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

target=aarch64-unknown-linux-gnu
rustlib=/usr/lib/rustlib

rustup_has_target() {
    [ -d "$(rustc --print target-libdir --target "$target")" ]
}

# Fetches Debian's library for arm64, of the version that the compiler here has, and puts those of both beside each
# other.
unpack_library() {
    local version=$1 sysroot=$2 state=$CACHE/rust-arm64/apt
    rm -rf "$state" "$sysroot.new"
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$sysroot.new/lib/rustlib"
    # shellcheck disable=SC2016  # the fields are apt's, not the shell's
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk '$2 == "main" && $3 ~ /\/debian(-security)?\/$/ {
            print "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $3, $1, $2
        }' | sort -u >"$state/sources.list"
    cat >"$state/apt.conf" <<-EOT
	Dir::State::lists "$state/lists";
	Dir::State::status "/dev/null";
	Dir::Cache "$state/cache";
	Dir::Etc::sourcelist "$state/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	APT::Architecture "arm64";
	APT::Architectures "arm64";
	APT::Sandbox::User "root";
	Acquire::Languages "none";
	EOT
    export APT_CONFIG=$state/apt.conf
    if ! { quietly apt-get -q update &&
        (cd "$state" && quietly apt-get -q download "libstd-rust-web-dev=$version") &&
        dpkg -x "$state"/libstd-rust-web-dev_*.deb "$state/tree"; }; then
        die "could not get Rust's standard library for arm64 (libstd-rust-web-dev $version) from Debian"
    fi
    mv "$state/tree$rustlib/$target" "$sysroot.new/lib/rustlib/"
    # Macros, and what runs while building, are the machine's own.
    ln -s "$rustlib/x86_64-unknown-linux-gnu" "$sysroot.new/lib/rustlib/"
    rm -rf "$state" "$sysroot"
    mv "$sysroot.new" "$sysroot"
}

[ "$(dpkg --print-architecture)" = amd64 ] || die "this machine is no amd64 one"
"$here/packages.sh" arm64
rustc='' sysroot=''
if ! rustup_has_target; then
    if ! { command -v rustup && timeout 120 rustup target add "$target" && rustup_has_target; } >/dev/null 2>&1; then
        "$here/packages.sh" bpf kernels
        lock_cache rust-arm64
        rustc=/usr/bin/rustc
        version=$(dpkg-query -W -f '${Version}' libstd-rust-web-dev)
        sysroot=$CACHE/rust-arm64/$version
        [ -d "$sysroot" ] || unpack_library "$version" "$sysroot"
    fi
fi
echo "ARM64_RUSTC=$rustc"
echo "ARM64_SYSROOT=$sysroot"
echo "ARM64_LINKER=$(command -v aarch64-linux-gnu-gcc)"
