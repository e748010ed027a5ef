#!/bin/bash
# Owns helm, and the tool that writes a chart's README, for tests of the chart. Prints, for `eval` or make:
#
#   HELM=PATH
#   HELM_DOCS=PATH
#
# A helm 3 on the PATH will do. What is missing is built from its Go module, once, and kept:
#
#   $CACHE/helm/VERSION/helm
#   $CACHE/helm/docs-VERSION/helm-docs
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
# shellcheck source-path=SCRIPTDIR source=go.sh
. "$here/go.sh"

helm=v3.19.5
kubernetes=34 # the minor version whose libraries that one is made with
docs=v1.14.2 # pinned, because another one may write another README
go_version=1.24.0 # what the newer of the two asks for
built=$CACHE/helm

# Builds a program of a module into a directory of the cache.
build() {
    local program=$1 module=$2 version=$3 into=$4 variables=$5 go
    go=$(need_go "$go_version" "$built")
    say "building $program $version (once, some minutes)"
    mkdir -p "$into"
    quietly env CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-trimpath GOBIN="$into/.new" "$go" install \
        -ldflags "-s -w $variables" "$module@$version" ||
        die "could not build $program $version"
    mv "$into/.new/$program" "$into/"
    rmdir "$into/.new"
}

helm_on_path() {
    local found
    found=$(command -v helm) || return 1
    case $("$found" version --template '{{.Version}}' 2>/dev/null) in
    v3.*) echo "$found" ;;
    *) return 1 ;;
    esac
}

lock_cache helm
if ! path=$(helm_on_path); then
    path=$built/$helm/helm
    # Its own source has neither its version nor that of Kubernetes, and charts may ask for both.
    [ -x "$path" ] ||
        build helm helm.sh/helm/v3/cmd/helm "$helm" "$built/$helm" \
            "-X helm.sh/helm/v3/internal/version.version=$helm \
             -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
             -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$kubernetes \
             -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
             -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$kubernetes"
fi
echo "HELM=$path"
path=$built/docs-$docs/helm-docs
[ -x "$path" ] ||
    build helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs "$docs" "$built/docs-$docs" "-X main.version=$docs"
echo "HELM_DOCS=$path"
