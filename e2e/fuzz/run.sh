#!/bin/bash
# LLVM's libFuzzer looks for input that breaks a reader: each target in turn, from its committed corpus.
#
#   run.sh [TARGET]...     (default: all)
#
# FUZZ_SECONDS (10) is for each. A fault is printed with the bytes that caused it, in base64, and kept in the target directory;
# `FUZZ_TARGET=TARGET vrfgate-fuzz FILE` repeats it. The last line is that of `cargo test`.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cd "$here/../.."
seconds=${FUZZ_SECONDS:-10}

# Counters in the code guide libFuzzer. cargo-fuzz adds them to every crate, and needs a nightly compiler for its sanitizers.
# Without sanitizers, the stable compiler can add them. Here, only this project's crates get them: those are to be tested.
export RUSTC_WORKSPACE_WRAPPER=$here/instrument.sh
built=$(readlink -m "${CARGO_TARGET_DIR:-target}")
# With the features of the whole workspace, so that dependencies need not be built again.
cargo build --quiet --workspace --features vrfgate-fuzz/libfuzzer --bin vrfgate-fuzz
fuzzer=$built/debug/vrfgate-fuzz
target=$built/fuzz

# A fuzzer that sees nothing finds nothing.
die_without_counters() {
    echo "run.sh: the code has no counters for libFuzzer: see instrument.sh" >&2
    exit 1
}

targets=("$@")
[ "${#targets[@]}" != 0 ] || mapfile -t targets < <(ls e2e/fuzz/corpus)
passed=0
failed=0
for name in "${targets[@]}"; do
    found=$target/found/$name
    mkdir -p "$found"
    log=$target/$name.log
    # New findings stay here; the committed corpus is only read.
    if FUZZ_TARGET=$name "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -verbosity=1 \
        -artifact_prefix="$target/$name-" "$found" "e2e/fuzz/corpus/$name" >"$log" 2>&1; then
        grep -q '^INFO: Loaded .* modules' "$log" || die_without_counters
        echo "$name: $(grep -E '^(Done|stat::number_of_executed_units)' "$log" | tail -1)"
        passed=$((passed + 1))
    else
        tail -40 "$log"
        echo "$name: FAILED"
        failed=$((failed + 1))
    fi
done
[ "$failed" = 0 ] && result=ok || result=FAILED
echo "test result: $result. $passed passed; $failed failed"
[ "$failed" = 0 ]
