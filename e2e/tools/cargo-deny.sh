#!/bin/bash
# Owns cargo-deny, which checks licences, sources and known vulnerabilities of dependencies. Prints one line:
#
#   CARGO_DENY=PATH
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=cargo.sh
. "$here/cargo.sh"

path=$(need_cargo_program cargo-deny 0.20.2)
echo "CARGO_DENY=$path"
