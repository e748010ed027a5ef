#!/usr/bin/env bash
# `make test`: every kind of test, one after the other, and one line that sums them up.
#
# A part that ends without saying how many tests it ran counts as one failure: silence is not success.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
tools=e2e/tools

# Release programs take ten minutes to optimise, and are the same otherwise.
export VRFGATE_PROFILE=unpacked

passed=0
failed=0

run() {
    local name=$1 log status p f
    shift
    log=$(mktemp)
    echo "=== $name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    # The closing lines of cargo test, which the lab's harness ends with too.
    read -r p f < <(awk '
        /^test result: / {
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) p += $(i - 1)
                if ($i ~ /^failed/) f += $(i - 1)
            }
        }
        END { print p + 0, f + 0 }' "$log")
    rm -f "$log"
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        echo "$name: ended with $status"
        f=1
    elif [ "$((p + f))" -eq 0 ]; then
        echo "$name: ran no test"
        f=1
    fi
    passed=$((passed + p))
    failed=$((failed + f))
}

# Builds in the background what later parts need and what takes long, while earlier parts run, which use half of a machine
# with two processors. A part that needs it earlier waits; it builds what failed to build here, and prints why.
build_ahead() {
    $tools/bpf-toolchain.sh
    $tools/cni-plugins.sh
    $tools/kubernetes.sh etcd kube-apiserver kubelet
    operator/packaging/programs.sh
    $tools/cargo-cyclonedx.sh
    $tools/containerd.sh
    $tools/helm.sh
}

# All at once, because two installations at a time disturb each other.
$tools/packages.sh build bpf objcopy kernels vm lab etcd runc image deb || exit 1
set -m # a process group of its own, to be ended as one
nice -n 19 bash -c "tools=$tools; $(declare -f build_ahead); build_ahead" >/dev/null 2>&1 </dev/null &
ahead=$!
set +m
trap 'kill -- "-$ahead" 2>/dev/null' EXIT

run "unit tests, the BPF program and the loader on this kernel" make --no-print-directory test-unit
run "kill -9 at any moment" make --no-print-directory test-kill
run "what strangers may hand to us" make --no-print-directory test-fuzz
run "the committed BPF object" make --no-print-directory test-object
run "the CNI plugin beside the reference" make --no-print-directory test-cni
run "the VRF lab" make --no-print-directory test-kernels
run "the image and the Debian package" make --no-print-directory test-packaging
run "the operator and a real API server" make --no-print-directory test-k8s
run "the demo" e2e/demo.sh --check

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
