#!/bin/bash
# Writes the container image, an OCI layout in a tar, with no base image and no daemon. Prints one line:
#
#   image.sh [--arch amd64|arm64] [--version VERSION]
#
#   IMAGE=PATH           target/image/vrfgate-VERSION-ARCH.oci.tar
#
#   ctr images import PATH;  podman load -i PATH;  skopeo copy oci-archive:PATH docker://…
#
# `FROM scratch`: the two programs, and the licences of everything in them. The same sources give the same bytes.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

source_url=https://github.com/vrfgate/vrfgate
repository=ghcr.io/vrfgate/vrfgate # values.yaml of the chart names the same

parse_options "$@"
source_date
"$tools/packages.sh" image
programs=$("$here/programs.sh" --arch "$arch" --version "$version")
programs=${programs#PROGRAMS=}

image=$target_dir/image/vrfgate-$version-$arch.oci.tar
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/root/licences"
cp "$programs/vrfgate" "$programs/vrfgate-cni" "$work/root/"
cp "$root"/LICENSE-* "$work/root/licences/"
"$here/licences.sh" "$(rust_target "$arch")" >"$work/root/licences/third-party.txt"
reproducible_tar "$work/root" "$work/layer.tar"

created=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
# An image's tag can't contain the `+` of a version's build metadata.
tag=${version//+/_}
layout=$work/layout
umoci init --layout "$layout"
umoci new --image "$layout:$tag"
umoci raw add-layer --image "$layout:$tag" --history.created "$created" \
    --history.created_by "${0##*/}" "$work/layer.tar"
# As nobody, which suits the controller; the agent's pod sets root.
umoci config --image "$layout:$tag" --no-history --created "$created" --os linux --architecture "$arch" \
    --author 'The vrfgate authors' --config.user 65534:65534 --config.entrypoint /vrfgate \
    --config.label org.opencontainers.image.title=vrfgate \
    --config.label 'org.opencontainers.image.description=Opens chosen services to chosen VRFs, and nothing else' \
    --config.label "org.opencontainers.image.version=$version" \
    --config.label "org.opencontainers.image.revision=$revision" \
    --config.label "org.opencontainers.image.created=$created" \
    --config.label "org.opencontainers.image.source=$source_url" \
    --config.label "org.opencontainers.image.url=$source_url" \
    --config.label 'org.opencontainers.image.licenses=(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)'
umoci gc --layout "$layout"

# containerd and Docker take the whole name from here; an OCI layout itself has only tags.
jq --compact-output --sort-keys --arg name "$repository:$tag" \
    '.manifests[].annotations["io.containerd.image.name"] = $name' "$layout/index.json" >"$work/index.json"
mv "$work/index.json" "$layout/index.json"

mkdir -p "${image%/*}"
reproducible_tar "$layout" "$image.new"
mv "$image.new" "$image"
say "${image##*/}: $(stat -c %s "$image") bytes"
echo "IMAGE=$image"
