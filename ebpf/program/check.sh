#!/usr/bin/env bash
# Proves that the committed BPF object is what its source makes: builds it anew and compares.
#
# With the toolchain the object was made with, the bytes must be equal. A newer toolchain may make other
# bytes; then the fresh object must pass every test the committed one passes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
object=$here/../object/vrfgate.bpf.o
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

fail() {
    echo "BPF object: $*" >&2
    echo "test result: FAILED. 0 passed; 1 failed;"
    exit 1
}

recorded=$(cat "$object.provenance")
now=$("$here/provenance.sh" "$object")
part() { grep "^$1 " <<<"$2"; }

[ "$(part source "$recorded")" = "$(part source "$now")" ] ||
    fail "stale: its source has changed since it was built; run \`make object\` and commit the result"
[ "$(part object "$recorded")" = "$(part object "$now")" ] ||
    fail "not the file that was built; run \`make object\` and commit the result"

"$here/build.sh" "$fresh/vrfgate.bpf.o"
if [ "$(part rustc "$recorded")$(part linker "$recorded")$(part objcopy "$recorded")" = \
    "$(part rustc "$now")$(part linker "$now")$(part objcopy "$now")" ]; then
    cmp "$object" "$fresh/vrfgate.bpf.o" ||
        fail "the same source and toolchain made other bytes: the build is not reproducible"
    echo "BPF object: rebuilt, equal to the byte"
    echo "test result: ok. 1 passed; 0 failed;"
else
    echo "BPF object: built by another toolchain than this machine's; testing a fresh build"
    diff <(echo "$recorded") <(echo "$now") || true
    VRFGATE_OBJECT=$fresh/vrfgate.bpf.o cargo test -p vrfgate-ebpf
fi
