#!/bin/bash
# The core crate decides from plain values. This fails if it comes to depend on anything that could ask the kernel, a cluster
# or a file system.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# Derives and their parts run in the compiler, and come with no code of their own.
tree=$(cargo tree --quiet -p vrfgate-core --edges normal,no-proc-macro --prefix none --format '{lib}')
strangers=$(sort -u <<<"$tree" | grep -vE '^((vrfgate_core|ipnet|serde|serde_core|thiserror)( \(\*\))?)?$' || true)
if [ -n "$strangers" ]; then
    echo "vrfgate-core must know nothing but plain values; it has come to depend on:" >&2
    echo "$strangers" >&2
    exit 1
fi
