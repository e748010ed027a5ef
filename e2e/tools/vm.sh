#!/bin/bash
# Runs a command as root under another kernel, in a VM that sees this machine's files.
#
#   vm.sh --kernel VMLINUZ [--kvm auto|on|off] [--timeout SECONDS] [--memory 2G] [--cpus 2]
#         [--net] [--icount] --rwdir DIR -- COMMAND...
#
# The machine's file system is read-only inside (writes go to a throw-away layer), DIR is
# writable; vm-guest.sh says what else COMMAND finds. Its output, both streams as one, comes out
# on stdout as it is written, and its exit code is this script's. Otherwise: 124 the time was up,
# 125 the VM ended without a result (the kernel's last words follow on stderr), 1 it was not
# started. Kernel errors are kept in DIR/vm-console.log. No terminal or stdin is needed.
#
# Commands, not sessions, pass this border: the environment is PATH, HOME and what COMMAND sets
# itself (`-- env A=b program`), and the VM has no network card, unless with --net: then its eth0
# reaches what listens on this machine's loopback, as 10.0.2.2, and has no route to anywhere else.
#
# With --icount the VM's clock is a count of the instructions that it executes, a nanosecond each: what takes so long
# there takes so many, whatever else this machine does. One CPU, emulated.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

virtme_ng=1.42       # the version all timings and work-arounds below were tried with
kvm_probe_seconds=25 # a working KVM boots in 3; where it does not work, many boots hang

usage() {
    die "usage: vm.sh --kernel VMLINUZ [--kvm auto|on|off] [--timeout S] [--memory 2G] [--cpus 2] [--net] [--icount] --rwdir DIR -- COMMAND..."
}

kernel='' kvm=auto limit=600 memory=2G cpus=2 net='' icount='' rwdir=''
while [ $# != 0 ]; do
    case $1 in
    --)
        shift
        break
        ;;
    --net)
        net=1
        shift
        ;;
    --icount)
        icount=1 cpus=1 kvm=off
        shift
        ;;
    --kernel | --kvm | --timeout | --memory | --cpus | --rwdir)
        [ $# -ge 2 ] || usage
        case $1 in
        --kernel) kernel=$2 ;;
        --kvm) kvm=$2 ;;
        --timeout) limit=$2 ;;
        --memory) memory=$2 ;;
        --cpus) cpus=$2 ;;
        --rwdir) rwdir=$2 ;;
        esac
        shift 2
        ;;
    *) usage ;;
    esac
done
if [ -z "$kernel" ] || [ -z "$rwdir" ] || [ $# = 0 ]; then usage; fi
[[ $kvm =~ ^(auto|on|off)$ ]] || die "--kvm $kvm: auto, on or off"
[[ $limit =~ ^[1-9][0-9]*$ ]] || die "--timeout $limit: whole seconds, at least 1"

# Paths that the VM hides under empty file systems of its own.
visible() {
    [[ $1 =~ ^(/run|/dev|/proc|/sys|/var/(run|tmp|cache|log|lib/apt|lib/private))(/|$) ]] || return 0
    die "$1 is not visible inside the VM: keep $2 elsewhere"
}
[ -r "$kernel" ] || die "no kernel at $kernel (kernels.sh downloads some)"
kernel=$(readlink -f "$kernel")
visible "$kernel" "the kernel"
visible "$here" "this source tree"
visible "$(readlink -m "$CACHE")" "VRFGATE_CACHE"
release=${kernel##*/vmlinuz-}
modules=${kernel%/boot/*}/lib/modules/$release
[ -r "$modules/modules.dep" ] || die "no modules for $kernel at $modules (kernels.sh puts both in place)"
mkdir -p "$rwdir"
rwdir=$(readlink -f "$rwdir")

"$here/packages.sh" vm
guest_path=$PATH
PATH=$PATH:/usr/sbin:/sbin
command -v qemu-system-x86_64 >/dev/null || die "qemu-system-x86_64 is missing: install qemu-system-x86"

# Puts a vng on PATH: the pinned one in the cache, or the machine's own when that can't be had.
need_vng() {
    local venv=$CACHE/venv
    if ! [ -e "$venv/virtme-ng-$virtme_ng" ]; then
        (
            lock_cache venv
            [ ! -e "$venv/virtme-ng-$virtme_ng" ] || exit 0
            rm -rf "$venv"
            quietly /usr/bin/python3 -m venv "$venv" &&
                quietly timeout 300 "$venv/bin/pip" -q install "virtme-ng==$virtme_ng" &&
                touch "$venv/virtme-ng-$virtme_ng"
        ) || {
            say "could not install virtme-ng $virtme_ng from PyPI"
            command -v vng >/dev/null || die "and there is no vng on PATH"
            return 0
        }
    fi
    PATH=$venv/bin:$PATH
}

# Whether hardware virtualisation works for this kernel here. An existing device proves nothing (a nested guest may die on
# an MSR or hang), so this boots once and remembers the answer. It remembers a no only once the kernel has booted without
# KVM, because something else may have failed.
kvm_works() {
    local probe works=yes
    kvm_answer=$CACHE/kvm/$(uname -r)-$({
        qemu-system-x86_64 --version
        grep -m1 'model name' /proc/cpuinfo
    } | cksum | cut -d' ' -f1)-$release
    if [ ! -e "$kvm_answer" ]; then
        mkdir -p "$CACHE/kvm"
        say "trying KVM with $release (once; up to $kvm_probe_seconds s)"
        probe=$(mktemp -d "$CACHE/kvm/.probe-XXXXXX")
        PATH=$guest_path "$here/vm.sh" --kernel "$kernel" --kvm on --timeout "$kvm_probe_seconds" \
            --rwdir "$probe" -- true >/dev/null 2>&1 || works=no
        rm -rf "$probe"
        [ "$works" = yes ] || return
        echo yes >"$kvm_answer"
    fi
    [ "$(cat "$kvm_answer")" = yes ]
}

need_vng
kvm_answer=''
if [ "$kvm" = auto ]; then
    kvm=off
    if [ -w /dev/kvm ] && kvm_works; then kvm=on; fi
fi

# What passes between the two sides: the command in, its output and exit code out. A file on
# 9p serves the output better than a console: no carriage returns, no kernel messages between.
work=$(mktemp -d "$rwdir/.vm-XXXXXX")
vm='' reader=''
trap '[ -z "$vm" ] || kill "$vm" || true; rm -rf "$work"' EXIT
trap 'exit 143' INT TERM HUP
: >"$work/output"
printf 'export PATH=%q HOME=%q\ncd %q\n' "$guest_path" "$HOME" "$PWD" >"$work/environment"
printf '%q ' "$@" >"$work/command"
[ -z "$net" ] || : >"$work/net"

options=(--force-9p --run "$kernel" --cpus "$cpus" --memory "$memory" --rwdir "$rwdir")
# Verbose is what makes virtme-ng hand out the kernel's console; the level keeps it to errors.
# Under software emulation the command starts after 5 to 7 s on an idle machine of two cores, 8 to
# 23 s on one that also compiles. Measured there without a gain beyond that noise, hence not used:
# mitigations=off, a larger or multi-threaded tcg cache, -cpu qemu64, one CPU, a shorter lsm=,
# tsc=reliable. Measured and slower (14 s idle): --no-virtme-ng-init.
options+=(--verbose --append quiet --append loglevel=4)
[ "$kvm" = on ] || options+=(--disable-kvm)
[ -z "$net" ] || options+=(--network user --no-dhcp)
[ -z "$icount" ] || options+=(--qemu-opts="-icount shift=0,sleep=off")

# `timeout` leads a process group of its own, so its signal reaches QEMU behind vng's shells;
# setpriv passes on the death of this script, whatever it dies of.
setpriv --pdeathsig TERM timeout --kill-after=5 "$limit" \
    vng "${options[@]}" -- "bash $(printf %q "$here/vm-guest.sh") $(printf %q "$work")" \
    </dev/null >"$rwdir/vm-console.log" 2>&1 &
vm=$!
tail -n +1 --follow --sleep-interval=0.1 --pid="$vm" "$work/output" 2>/dev/null &
reader=$!
ended=0
wait "$vm" || ended=$?
vm=''
wait "$reader" || true

if [ -s "$work/status" ]; then
    [ "$kvm" = on ] || [ -z "$kvm_answer" ] || [ -e "$kvm_answer" ] || echo no >"$kvm_answer"
    exit "$(cat "$work/status")"
elif [ "$ended" = 124 ] || [ "$ended" = 137 ]; then
    say "time is up: $release was stopped after $limit s, its command still running"
    exit 124
fi
say "the VM ended without a result; kernel $release, KVM $kvm; the last words of its console:"
tr -d '\r' <"$rwdir/vm-console.log" | tail -n 30 >&2
exit 125
