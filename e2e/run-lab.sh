#!/bin/bash
# Runs the lab's tests in several kernels, in a few boots of a VM, as many at a time as the machine has processors and memory for
# (VRFGATE_LAB_BOOTS).
#
#   run-lab.sh [6.1|6.12|rt|newest|all|host]... [-- ARGUMENTS OF vrfgate-lab]     (default: all)
#
# `all` runs all tests on one kernel, and on the others those whose result depends on the kernel (`kernel::`, `gate::`,
# `steer::` and `shared::`); a kernel that is named runs all tests. `rt` is PREEMPT_RT. `host` is this machine's own kernel:
# if it has VRFs, `all` runs all tests there, and in VMs only what it can't stand in for: PREEMPT_RT, and a kernel that is
# locked down. Prints what vrfgate-lab prints, its last line for each boot being
# `lab RELEASE: N passed, N failed`; if several boots run at the same time, it prints the output of each at its end. Fails when a test
# failed, when a boot gave no such line, or when no test was run.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tools/lib.sh
. "$here/tools/lib.sh"

# A whole run takes some minutes under software emulation. This limit is for slower machines, and so that a kernel that
# hangs is noticed.
vm_seconds=${VRFGATE_LAB_TIMEOUT:-1800}

# The kernel on which `all` runs all tests.
thorough=6.12
# The groups of one boot each: a VM that dies takes only its own with it. Other kernels run the first.
# The last one changes its kernel for good.
boots=("kernel gate steer shared" "host routes state input explain monitor doctor closings clashes" "cni examples package"
    "locked")
locked=3

labels=()
while [ $# != 0 ]; do
    case $1 in
    --)
        shift
        break
        ;;
    6.1 | 6.12 | rt | newest | all | host) labels+=("$1") ;;
    *) die "usage: run-lab.sh [6.1|6.12|rt|newest|all|host]... [-- ARGUMENTS OF vrfgate-lab]" ;;
    esac
    shift
done
[ "${#labels[@]}" != 0 ] || labels=(all)

host_has_vrfs() {
    as_root ip link add vrfgate-probe type vrf table 4242 2>/dev/null &&
        as_root ip link del vrfgate-probe
}

"$here/tools/packages.sh" build lab
cd "$here/.."
# A clean build must not write to the lock file, nor hide what is wrong.
cargo build --quiet --workspace --bins
cni_plugins=$("$here/tools/cni-plugins.sh" | sed 's/^CNI_PLUGINS=//')
target=$(readlink -f "${CARGO_TARGET_DIR:-target}")
lab=("$target/debug/vrfgate-lab" --cni-plugins "$cni_plugins")

# The package is tested on one kernel, and built only if its tests are asked for: it takes minutes to build.
package=()
package_label=6.12
if [[ " ${labels[*]} " =~ \ (all|host|$package_label)\  ]] && { [ $# = 0 ] || [[ $* == *package* ]]; }; then
    deb=$("$here/../operator/packaging/deb.sh")
    deb=${deb#DEB=}
    mkdir -p "$target/lab"
    "$here/tools/next-deb.sh" "$deb" "$target/lab/next.deb"
    package=(--deb "$deb" --next-deb "$target/lab/next.deb")
fi

# Runs a command, the lab in some kernel, and checks that it came to a result. Returns its exit code.
run() {
    local name=$1 status=0
    shift
    say "$name"
    "$@" | tee "$target/lab/$name.log" || status=$?
    if ! grep -q '^lab .*: [0-9]* passed, [0-9]* failed$' "$target/lab/$name.log"; then
        say "$name gave no result (exit code $status)"
        [ "$status" != 0 ] || status=1
    fi
    return "$status"
}

# The exit code of vm.sh after the VM died.
died=125

# Boots a kernel, and runs one part of the lab there.
boot() {
    local name=$1 label=$2 vmlinuz=$3 part=$4 arguments vm command status=0
    shift 4
    vm=("$here/tools/vm.sh" --kernel "$vmlinuz" --timeout "$vm_seconds" --rwdir "$target/lab/$name")
    arguments=("$@")
    [ $# != 0 ] || arguments=(--groups "${part// /,}")
    [ "$label" != "$package_label" ] || arguments+=("${package[@]}")
    command=(env ${VRFGATE_LAB_SEED:+VRFGATE_LAB_SEED="$VRFGATE_LAB_SEED"} bash -c "$in_vm" lab "$target/lab/programs" "${lab[@]}" "${arguments[@]}")
    run "$name" "${vm[@]}" -- "${command[@]}" || status=$?
    if [ "$status" = "$died" ]; then
        # A kernel patches its own code when BPF programs and hooks come and go, and one of two
        # emulated processors may run what another has just replaced ("Oops: int3"). With one
        # processor that can't be.
        say "the VM died, and is tried once more with one processor"
        status=0
        run "$name" "${vm[@]}" --cpus 1 -- "${command[@]}" || status=$?
    fi
    return "$status"
}

# A VM has two processors and 2 GiB. Two on two processors take hardly less time than one after the other.
boots_at_a_time() {
    local processors=$(($(nproc) / 2)) memory
    memory=$(awk '/^MemAvailable:/ { print int($2 / 1024 / 1024 / 3) }' /proc/meminfo)
    local fit=$((memory < processors ? memory : processors))
    echo $((fit < 1 ? 1 : fit))
}
at_a_time=${VRFGATE_LAB_BOOTS:-$(boots_at_a_time)}

# Boots that run, by process, as a whole.
declare -A names=()

# Waits for one of them, and prints what it said.
reap() {
    local pid='' status=0
    wait -n -p pid || status=$?
    # One that a signal has ended is not always waited for.
    if [ -z "$pid" ]; then
        for pid in "${!names[@]}"; do
            kill -0 "$pid" 2>/dev/null || break
        done
    fi
    cat "$target/lab/${names[$pid]}.out"
    [ "$status" = 0 ] || failed+=("${names[$pid]}")
    unset "names[$pid]"
}

mkdir -p "$target/lab"
failed=()
# Where the boots' results are.
results=()
# Kernels for a VM. A whole run has this machine's own kernel stand in for most of them.
kernels_wanted=()
on_host=
stands_in=
for label in "${labels[@]}"; do
    [ "$label" = host ] && on_host=yes || kernels_wanted+=("$label")
done
locks=
[[ " $*" != *[\ ,]locked* ]] || locks=yes
if [ "${labels[*]}" = all ] && [ -z "$locks" ] && host_has_vrfs; then
    on_host=yes
    stands_in=yes
fi
if [ "$on_host" = yes ]; then
    [ -z "$locks" ] || die "locked:: is for a VM: it locks its kernel down until the next boot"
    results+=("$target/lab/host.log")
    run host as_root env ${VRFGATE_LAB_SEED:+VRFGATE_LAB_SEED="$VRFGATE_LAB_SEED"} "${lab[@]}" "${package[@]}" "$@" --vrfgate "$target/debug/vrfgate" \
        --cni "$target/debug/vrfgate-cni" || failed+=(host)
fi
if [ "${#kernels_wanted[@]}" != 0 ]; then
    "$here/tools/packages.sh" vm
    # A VM that reads these programs from the machine's file system, a thousand times, does little else: it gets
    # copies in its memory, without debug information.
    mkdir -p "$target/lab/programs"
    for program in vrfgate vrfgate-cni; do
        strip --strip-debug -o "$target/lab/programs/$program" "$target/debug/$program"
    done
    # Tunnels and bonds that come up while tests run would show up in all namespaces there are.
    in_vm='modprobe bonding max_bonds=0; modprobe -a bridge overlay ip_gre ipip; cp -r "$1" /run/lab-programs && shift &&
        exec "$@" --vrfgate /run/lab-programs/vrfgate --cni /run/lab-programs/vrfgate-cni'
    # Name, label, kernel and groups of each.
    boots_wanted=()
    kernels=$("$here/tools/kernels.sh" "${kernels_wanted[@]}")
    while read -r label version vmlinuz <&3; do
        say "$label is $version"
        # Chosen tests take one boot.
        parts=("${boots[*]}")
        if [ $# = 0 ]; then
            parts=("${boots[@]}")
            if [ "${labels[*]}" = all ] && [ "$label" != "$thorough" ]; then
                parts=("${boots[0]}")
            elif [ -n "$stands_in" ]; then
                parts=("${boots[locked]}")
            fi
        fi
        # This machine's kernel has run the same tests.
        if [ -n "$stands_in" ] && [ "$label" != rt ] && [ "${parts[*]}" != "${boots[locked]}" ]; then
            continue
        fi
        for part in "${parts[@]}"; do
            name=$label-$((${#boots_wanted[@]} / 4 + 1))
            boots_wanted+=("$name" "$label" "$vmlinuz" "$part")
            results+=("$target/lab/$name.log")
        done
    done 3<<<"$kernels"
    if [ "$at_a_time" = 1 ] || [ "${#boots_wanted[@]}" = 4 ]; then
        # A person who watches sees each test at its end.
        for ((next = 0; next < ${#boots_wanted[@]}; next += 4)); do
            boot "${boots_wanted[@]:next:4}" "$@" || failed+=("${boots_wanted[next]}")
        done
    else
        trap 'for pid in "${!names[@]}"; do kill -- "-$pid" 2>/dev/null; done' EXIT
        for ((next = 0; next < ${#boots_wanted[@]}; next += 4)); do
            [ "${#names[@]}" -lt "$at_a_time" ] || reap
            name=${boots_wanted[next]}
            say "$name begins"
            # A process group of its own, to be ended as one.
            set -m
            boot "${boots_wanted[@]:next:4}" "$@" >"$target/lab/$name.out" 2>&1 </dev/null &
            set +m
            names[$!]=$name
        done
        while [ "${#names[@]}" != 0 ]; do
            reap
        done
    fi
fi
[ "${#failed[@]}" = 0 ] || die "failed: ${failed[*]}"
grep -qsE '^lab .*: [1-9][0-9]* passed' "${results[@]}" || die "no test was run: none has a name with $*"
