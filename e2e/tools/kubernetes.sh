#!/bin/bash
# Owns a real Kubernetes control plane for tests. Prints, for `eval` or make, one line a program:
#
#   kubernetes.sh [PROGRAM]...          (default: etcd kube-apiserver)
#
#   ETCD=PATH
#   KUBE_APISERVER=PATH
#   KUBE_CONTROLLER_MANAGER=PATH
#   KUBE_SCHEDULER=PATH
#   KUBELET=PATH
#   KUBECTL=PATH
#
# A program is looked for in $KUBEBUILDER_ASSETS (the envtest convention), then on PATH. Otherwise, etcd is
# Debian's, and Kubernetes' own are built from their Go modules, all at once: they share most of their
# packages, so the first takes some eight minutes and each other one or two. They are kept:
#
#   $CACHE/kubernetes/VERSION/PROGRAM
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

# Builds programs of Kubernetes into the cache.
build() {
    local program go minor=${version#v1.}
    go=$(need_go "$go_version" "$built")
    minor=${minor%%.*}
    say "building $* $version (some ten minutes, once)"
    mkdir -p "$built/.new"
    # Clients conclude from the version which APIs there are.
    (cd "$module" && quietly env CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local "$go" build -trimpath \
        -o "$built/.new/" -ldflags "-s -w \
            -X k8s.io/component-base/version.gitVersion=$version \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=$minor" \
        "${@/#/./}") || die "could not build $* $version"
    for program; do
        mv "$built/.new/$program" "$built/$program"
    done
    rmdir "$built/.new"
}

[ $# != 0 ] || set -- etcd kube-apiserver
missing=()
for program; do
    case $program in
    etcd | kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | kubectl) ;;
    *) die "usage: kubernetes.sh [etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kubectl]..." ;;
    esac
done
lock_cache kubernetes
for program; do
    find_program "$program" >/dev/null || missing+=("$program")
done
if [[ " ${missing[*]} " == *" etcd "* ]]; then "$here/packages.sh" etcd; fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sed '/^etcd$/d;/^$/d')
[ "${#missing[@]}" = 0 ] || build "${missing[@]}"
for program; do
    path=$(find_program "$program") || die "$program is still not there"
    variable=${program//-/_}
    echo "${variable^^}=$path"
done
