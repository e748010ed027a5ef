#!/usr/bin/env bash
# What `make demo` shows, on whatever kernel it runs: demo-guest.sh VRFGATE SCRATCH
#
# Two namespaces stand for two machines, under names that nobody else has, so that no namespace of this machine is
# touched. Fails if anything that it shows is not as it should be.
set -euo pipefail
vrfgate=$1
scratch=$2
wrong=0
client=vrfgate-demo-client
router=vrfgate-demo-router

say() { printf '\n== %s\n' "$*"; }
quietly() { "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }; }

# Shows a command as a person would type it, and runs it.
shown() {
    local prompt=$1
    shift
    printf '%s%s\n' "$prompt" "$*" | sed "s|$vrfgate|vrfgate|; s|$scratch/||"
    "$@" 2>&1 | sed 's/^/  /' || true
}

# One connection from the client, and the first line of the server's answer.
connect() {
    ip netns exec "$client" timeout 10 bash -c \
        "exec 3<>/dev/tcp/192.0.2.1/$1 && head -n 1 <&3" 2>&1 | tr -d '\r' |
        sed -nE 's/.*(Connection refused|No route to host|timed out).*/\1/p; /^(SSH|HTTP)/p' | head -n 1 ||
        true # a refusal is a result, too
}

# expect PORT BEGINNING-OF-THE-ANSWER
expect() {
    local answer
    answer=$(connect "$1")
    printf 'client$ connect 192.0.2.1:%-4s' "$1"
    if [[ $answer == $2* ]]; then
        printf ' -> %s\n' "$answer"
    else
        printf ' -> %s   (WRONG: %s was expected)\n' "${answer:-nothing}" "$2"
        wrong=1
    fi
}

clean_up() {
    local host
    for host in "$client" "$router"; do
        ip netns pids "$host" 2>/dev/null | xargs -r kill || true
        ip netns del "$host" 2>/dev/null || true
    done
}
clean_up
trap clean_up EXIT
modprobe -qa vrf veth dummy || true
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf

ip netns add "$router"
ip netns add "$client"
ip -n "$router" -batch - <<IP
link set lo up
link add BLUE type vrf table 10
link set BLUE up
link add blue1 type veth peer name eth0 netns $client
link set blue1 master BLUE up
address add 10.0.0.1/24 dev blue1
link add lan type dummy
link set lan up
address add 192.0.2.1/24 dev lan
IP
ip -n "$client" -batch - <<'IP'
link set lo up
link set eth0 up
address add 10.0.0.2/24 dev eth0
route add default via 10.0.0.1
IP
mkdir -p /run/sshd
rm -f "$scratch/key"
quietly ssh-keygen -q -t ed25519 -N '' -f "$scratch/key"
ip netns exec "$router" /usr/sbin/sshd -f /dev/null -h "$scratch/key" -o PidFile=none
ip netns exec "$router" python3 -c '
import socket
web = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    client, _ = web.accept()
    client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    client.close()
' &
until ip netns exec "$router" ss -Hltn | grep -q ':80 '; do sleep 0.1; done

cat <<EOF

vrfgate on Linux $(uname -r)

  client                   router
  10.0.0.2 ----- blue1, in VRF BLUE ==leak route==> lan 192.0.2.1, main table
                                                    sshd on *:22
                                                    a web server on *:80
EOF

say "Before: the packet is delivered, and every unbound socket refuses it"
expect 22 "Connection refused"
expect 80 "Connection refused"

cat >"$scratch/blue.yaml" <<'EOF'
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: blue}
spec:
  vrf: BLUE
  routes:
    - {prefix: 192.0.2.0/24, device: lan}
  services:
    - {name: ssh, protocol: TCP, port: 22}
EOF
say "Open ssh, and nothing else, to VRF BLUE"
shown 'router$ ' cat "$scratch/blue.yaml"
shown 'router$ ' "$vrfgate" --log warn run --once --netns "$router" -f "$scratch/blue.yaml"

say "After: ssh answers; the web server beside it looks like a closed port"
expect 22 "SSH-2.0"
expect 80 "Connection refused"
shown 'router$ ' "$vrfgate" status --netns "$router"

say "Clear: as it was before"
shown 'router$ ' "$vrfgate" clear --netns "$router"
expect 22 "Connection refused"
exit "$wrong"
