#!/bin/bash
# The compiler of a crate of the workspace, as cargo calls it, with libFuzzer's counters in what it makes.
set -euo pipefail
for argument in "$@"; do
    case $argument in
    # These run while others are compiled, without libFuzzer.
    build_script_build | proc-macro) exec "$@" ;;
    esac
done
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
