# shellcheck shell=bash
# Shared parts of the scripts here. Sourced, never run.

packaging=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
root=$(readlink -f "$packaging/../..")
tools=$root/e2e/tools
# shellcheck disable=SC2034  # of those who source this
target_dir=$(readlink -m "${CARGO_TARGET_DIR:-$root/target}")
# shellcheck source-path=SCRIPTDIR source=../../e2e/tools/lib.sh
. "$tools/lib.sh"

own_version=$(sed -nE '/^\[workspace\.package\]/,/^$/ s/^version = "(.*)"$/\1/p' "$root/Cargo.toml")

# --arch and --version, which all of these scripts take.
parse_options() {
    arch=$(dpkg --print-architecture) version=$own_version
    while [ $# != 0 ]; do
        case $1 in
        --arch) arch=${2-} ;;
        --version) version=${2-} ;;
        *) die "usage: ${0##*/} [--arch amd64|arm64] [--version VERSION]" ;;
        esac
        shift 2 || die "$1 needs a value"
    done
    [[ $arch =~ ^(amd64|arm64)$ ]] || die "--arch $arch: amd64 or arm64"
    [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$ ]] ||
        die "--version $version: a semantic version, such as 0.2.0"
}

# Rust's name for one of Debian's architectures.
rust_target() {
    case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    esac
}

# The time stamp of all artefacts: the last commit's, unless it is set (reproducible-builds.org).
source_date() {
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
    export SOURCE_DATE_EPOCH
}

# Packs a directory in a fixed order, with one owner and one time.
reproducible_tar() {
    find "$1" -type d -exec chmod 755 {} + && find "$1" -type f -perm /111 -exec chmod 755 {} + &&
        find "$1" -type f ! -perm /111 -exec chmod 644 {} +
    (cd "$1" && find . -mindepth 1 -printf '%P\0' | LC_ALL=C sort --zero-terminated) |
        tar --create --file "$2" --directory "$1" --format ustar --owner 0 --group 0 --numeric-owner \
            --mtime "@$SOURCE_DATE_EPOCH" --no-recursion --null --files-from -
}
