#!/bin/bash
# Owns a real Kubernetes control plane for tests. Prints, for `eval` or make, one line a program:
#
#   kubernetes.sh [etcd|kube-apiserver|kubelet]...          (default: etcd kube-apiserver)
#
#   ETCD=PATH
#   KUBE_APISERVER=PATH
#   KUBELET=PATH
#
# A program is looked for in $KUBEBUILDER_ASSETS (the envtest convention), then on PATH. Else etcd is
# Debian's, and Kubernetes' own are built from their Go modules (some eight minutes each, once):
#
#   $CACHE/kubernetes/VERSION/kube-apiserver
#   $CACHE/kubernetes/VERSION/kubelet
#
# Go is the one on PATH, or Debian's; where that is too old, the one that e2e/k8s/go.mod asks for, as
# a module like any other.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=go.sh
. "$here/go.sh"

module=$here/../k8s
version=$(sed -nE 's|^\tk8s.io/kubernetes (v[0-9.]+)$|\1|p' "$module/go.mod")
go_version=$(sed -nE 's|^go ([0-9.]+)$|\1|p' "$module/go.mod")
built=$CACHE/kubernetes/$version

# Prints the path of a program that is there already.
find_program() {
    local assets=${KUBEBUILDER_ASSETS:-/nonexistent}
    if [ -x "$assets/$1" ]; then
        readlink -f "$assets/$1"
    elif command -v "$1" >/dev/null; then
        command -v "$1"
    else
        [ -x "$built/$1" ] && echo "$built/$1"
    fi
}

# Builds one program of Kubernetes into the cache.
build() {
    local program=$1 go minor=${version#v1.}
    go=$(need_go "$go_version" "$built")
    minor=${minor%%.*}
    say "building $program $version (some eight minutes, once)"
    mkdir -p "$built"
    # The version is what clients decide by which API there is.
    (cd "$module" && quietly env CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local "$go" build -trimpath \
        -o "$built/.$program.new" -ldflags "-s -w \
            -X k8s.io/component-base/version.gitVersion=$version \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=$minor" \
        "./$program") || die "could not build $program $version"
    mv "$built/.$program.new" "$built/$program"
}

provide() {
    local program=$1 path variable
    if ! path=$(find_program "$program"); then
        case $program in
        etcd) "$here/packages.sh" etcd ;;
        *) build "$program" ;;
        esac
        path=$(find_program "$program") || die "$program is still not there"
    fi
    variable=${program//-/_}
    echo "${variable^^}=$path"
}

[ $# != 0 ] || set -- etcd kube-apiserver
for program; do
    case $program in
    etcd | kube-apiserver | kubelet) ;;
    *) die "usage: kubernetes.sh [etcd|kube-apiserver|kubelet]..." ;;
    esac
done
lock_cache kubernetes
for program; do
    provide "$program"
done
