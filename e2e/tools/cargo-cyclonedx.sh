#!/bin/bash
# Owns cargo-cyclonedx, which writes what a program is made of (SBOM). Prints one line:
#
#   CARGO_CYCLONEDX=PATH
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=cargo.sh
. "$here/cargo.sh"

path=$(need_cargo_program cargo-cyclonedx 0.5.9)
echo "CARGO_CYCLONEDX=$path"
