#!/bin/bash
# The inside of vm.sh: prepares the VM, runs the command, hands back output and exit code.
#
#   vm-guest.sh WORK      WORK/environment, WORK/command and WORK/net in, WORK/output and WORK/status out
#
# The command finds: root's rights, its own working directory, PATH and HOME; vrf, veth and dummy
# loaded and modprobe for the rest; bpffs, cgroup2, debugfs and tracefs in their usual places;
# a tmpfs on /run (so `ip netns` works) and loopback up; with WORK/net, eth0 as well.
set -euo pipefail
work=$1

ensure_mounted() {
    local type=$1 at=$2
    [ -d "$at" ] || return 0
    [ "$(stat -f -c %T "$at")" = "$3" ] || mount -t "$type" "$type" "$at"
}
ensure_mounted tmpfs /run tmpfs
ensure_mounted bpf /sys/fs/bpf bpf_fs
ensure_mounted cgroup2 /sys/fs/cgroup cgroup2fs
ensure_mounted debugfs /sys/kernel/debug debugfs
ensure_mounted tracefs /sys/kernel/tracing tracefs
mkdir -p /run/netns /run/lock
modprobe -a vrf veth dummy
ip link set lo up
if [ -e "$work/net" ]; then
    modprobe virtio_net
    # The address that QEMU's user network expects of its first machine. No default route, nor one that
    # is advertised over IPv6: tests reach this one host and nothing else.
    echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
    ip address add 10.0.2.15/24 dev eth0
    ip link set eth0 up
fi

# A pipe, not the file itself: a command that opens /dev/stdout would cut the file short.
exec {out}> >(exec cat >"$work/output")
collector=$!
status=0
(
    # shellcheck disable=SC1091
    . "$work/environment"
    eval "exec $(cat "$work/command")"
) >&"$out" 2>&1 </dev/null || status=$?

# Whatever the command left running may hold the pipe open: wait for what was written, not for it.
exec {out}>&-
for _ in {1..20}; do
    kill -0 "$collector" 2>/dev/null || break
    sleep 0.1
done
echo "$status" >"$work/status"

# Quicker than a shutdown, and nothing here needs one: every write above is already the host's.
echo b >/proc/sysrq-trigger
