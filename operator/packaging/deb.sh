#!/bin/bash
# Makes the Debian package, for machines without Kubernetes, with debhelper. Prints one line:
#
#   deb.sh [--arch amd64|arm64] [--version VERSION]
#
#   DEB=PATH             target/debian/vrfgate_VERSION_ARCH.deb
#
# It holds the same programs as the image, and depends on nothing: it suits every release of Debian and Ubuntu.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

parse_options "$@"
source_date
"$tools/packages.sh" deb
programs=$("$here/programs.sh" --arch "$arch" --version "$version")
programs=${programs#PROGRAMS=}
# The program itself prints manual pages and completions, so it must be one that runs here.
native=$programs
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    native=$("$here/programs.sh" --version "$version")
    native=${native#PROGRAMS=}
fi

# A pre-release is older than its release, which dpkg expresses by `~`.
deb_version=${version/-/\~}
deb=$target_dir/debian/vrfgate_${deb_version}_$arch.deb
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/vrfgate

mkdir -p "$tree"/{cni,completions}
cp -r "$here/debian" "$root/README.md" "$root/SECURITY.md" "$root/CHANGELOG.md" "$root/docs" "$tree/"
mv "$tree/debian/blue.yaml.example" "$tree/"
cp "$root/operator/systemd/vrfgate.service" "$tree/debian/vrfgate.service"
cp "$root/operator/systemd/vrfgate-prepare.service" "$tree/debian/vrfgate.vrfgate-prepare.service"
cp "$programs/vrfgate" "$tree/vrfgate"
cp "$programs/vrfgate-cni" "$tree/cni/vrfgate"
"$here/licences.sh" "$(rust_target "$arch")" >"$tree/third-party.txt"
"$native/vrfgate" man --dir "$tree/man"
"$native/vrfgate" completions bash >"$tree/completions/vrfgate"
"$native/vrfgate" completions zsh >"$tree/completions/_vrfgate"
"$native/vrfgate" completions fish >"$tree/completions/vrfgate.fish"
cat >"$tree/debian/changelog" <<CHANGELOG
vrfgate ($deb_version) unstable; urgency=medium

  * Version $version. See changelog.gz beside this file.

 -- $(sed -n 's/^Maintainer: //p' "$here/debian/control")  $(LC_ALL=C date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")
CHANGELOG

# -d: the build dependencies are installed above, and nothing is compiled.
(cd "$tree" && quietly dpkg-buildpackage --build=binary --host-arch "$arch" -d --unsigned-source --unsigned-changes) ||
    die "could not make the package"
mkdir -p "${deb%/*}"
mv "$work/${deb##*/}" "$deb"
say "${deb##*/}: $(stat -c %s "$deb") bytes"
echo "DEB=$deb"
