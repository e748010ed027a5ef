#!/bin/bash
# Writes the parts of each program, as CycloneDX JSON. Prints a line for each:
#
#   sbom.sh [--arch amd64|arm64]
#
#   SBOM=PATH            target/sbom/PROGRAM-VERSION-ARCH.cdx.json
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

parse_options "$@"
[ "$version" = "$own_version" ] || die "--version: this tree is version $own_version"
source_date
"$tools/packages.sh" build image
cyclonedx=$("$tools/cargo-cyclonedx.sh")
cyclonedx=${cyclonedx#CARGO_CYCLONEDX=}

# The tool writes beside each manifest, so it gets a copy.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$root" && tar -cf - Cargo.toml Cargo.lock cni e2e ebpf operator) | tar -C "$work" -xf -
mkdir -p "$target_dir/sbom"
(cd "$work" && quietly "$cyclonedx" cyclonedx --format json --spec-version 1.5 --describe binaries \
    --no-build-deps --target "$(rust_target "$arch")") || die "could not write the SBOM"
for program in operator/vrfgate cni/vrfgate-cni; do
    sbom=$target_dir/sbom/${program#*/}-$version-$arch.cdx.json
    # Without the serial number and the paths of this run.
    jq --sort-keys --arg work "file://$work" 'del(.serialNumber) | walk(if type == "string" then
        gsub($work; "file:///vrfgate") else . end)' "$work/${program}_bin.cdx.json" >"$sbom"
    echo "SBOM=$sbom"
done
