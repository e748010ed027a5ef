#!/bin/bash
# Writes the one image that tests run in pods: Debian's busybox, and a page for its web server. No registry has it.
#
#   pod-image.sh TAR     as `docker save` would; the image is vrfgate.test/busybox:1
#
# Without a command it sleeps, so it is also what holds a pod's namespaces.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

[ $# = 1 ] || die "usage: pod-image.sh TAR"
image=$(readlink -m "$1")
"$here/packages.sh" vm

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p root/bin root/www root/tmp
cp "$(dpkg -L busybox-static | grep '/bin/busybox$' | head -n 1)" root/bin/busybox
echo served >root/www/index.html
tar --owner=0 --group=0 -C root -cf layer.tar .
cat >config.json <<JSON
{"architecture": "$(dpkg --print-architecture)", "os": "linux",
 "config": {"Entrypoint": ["/bin/busybox"], "Cmd": ["sleep", "1000000"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum layer.tar | cut -d' ' -f1)"]}}
JSON
echo '[{"Config": "config.json", "RepoTags": ["vrfgate.test/busybox:1"], "Layers": ["layer.tar"]}]' >manifest.json
tar -cf "$image" manifest.json config.json layer.tar
