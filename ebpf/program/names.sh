#!/usr/bin/env bash
# Names of the BPF programs, one a line: the gate, and every file in src/bin.
set -euo pipefail
echo vrfgate
cd "$(dirname "$0")/src/bin"
printf '%s\n' *.rs | sed 's/\.rs$//'
