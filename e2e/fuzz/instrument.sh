#!/bin/bash
# The compiler of the workspace's crates, as cargo calls it, which adds libFuzzer's counters.
set -euo pipefail
for argument in "$@"; do
    case $argument in
    # Build scripts and macros run without libFuzzer.
    build_script_build | proc-macro) exec "$@" ;;
    esac
done
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
