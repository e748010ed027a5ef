# shellcheck shell=bash
# A Go that is new enough, for the tools that build programs from their modules. Sourced, never run.

go_new_enough() {
    local have
    have=$("$1" env GOVERSION 2>/dev/null) || return 1
    have=${have#go}
    [ "$(printf '%s\n' "$2" "${have%% *}" | sort --version-sort | head -n 1)" = "$2" ]
}

# Prints a Go of at least VERSION: the one on PATH, or Debian's; where that is too old, the wanted one, as a module
# like any other, in DIR. The version is asked for outside of any module, where none has to be downloaded to answer.
need_go() {
    local version=$1 at=$2 go goarch dir toolchain
    go=$(command -v go) || {
        need_packages golang-go
        go=$(command -v go)
    }
    if (cd / && go_new_enough "$go" "$version"); then
        echo "$go"
        return
    fi
    # Any Go since 1.13 downloads, and checks, a newer one like a module. Modules have no file modes.
    goarch=$("$go" env GOARCH)
    toolchain=$at/go$version
    if ! [ -x "$toolchain/bin/go" ]; then
        say "downloading Go $version"
        mkdir -p "$at"
        dir=$(cd / && "$go" mod download -json "golang.org/toolchain@v0.0.1-go$version.linux-$goarch" |
            sed -nE 's|^\t"Dir": "(.*)",?$|\1|p')
        [ -d "$dir" ] || die "could not download Go $version; put it, or a newer one, on PATH"
        rm -rf "$toolchain.new"
        cp -r "$dir" "$toolchain.new"
        chmod -R u+w "$toolchain.new"
        chmod u+x "$toolchain.new"/bin/* "$toolchain.new"/pkg/tool/*/*
        mv "$toolchain.new" "$toolchain"
    fi
    echo "$toolchain/bin/go"
}
