//! A worker as a node of a whole cluster, on which a Helm chart installs vrfgate: it has nothing of vrfgate yet, an ordinary
//! network for pods, a way to the Service `kubernetes`, and a management VRF.

use std::process::Command;

use vrfgate_e2e::Lab;

use crate::{
    kubelet::Kubelet,
    output,
    scene::{self, Scene},
};

/// As long as it is one.
pub struct Member {
    scene: Scene,
}

/// What kube-proxy is for in a cluster: pods, and the node itself, find the API server behind its Service.
const SERVICE: &str = "\
table ip cluster {
  chain services {
    ip daddr 10.96.0.1 tcp dport 443 dnat to 10.0.2.2:PORT
  }
  chain of-pods { type nat hook prerouting priority -100; jump services; }
  chain of-the-node { type nat hook output priority -100; jump services; }
  chain out { type nat hook postrouting priority 100; ip saddr 10.244.0.0/24 oifname eth0 masquerade; }
}
";

impl Member {
    /// The API server is at this port of the host.
    pub fn join(machine: &Lab, kubelet: &Kubelet, port: &str) -> Self {
        // The plugin `bridge` would make it with the first pod, and leave it.
        machine.ip(
            "link add br-pods type bridge\naddress add 10.244.0.1/24 dev br-pods nodad\nlink set br-pods up\n\
             link add always type dummy\nlink set always master br-pods up\n\
             route add 10.96.0.0/16 via 10.0.2.2 dev eth0",
        );
        // As the plugin `bridge` sets it with the first pod. And the bridge has a carrier with and without pods.
        output("echo 0 >/proc/sys/net/ipv6/conf/br-pods/accept_ra");
        nft(machine, &SERVICE.replace("PORT", port));
        kubelet.be_ordinary();
        Self {
            scene: Scene::new(machine, "MGMT", "10.20.0"),
        }
    }

    pub fn leave(self, machine: &Lab, kubelet: &Kubelet) {
        // Its clients end before what they use.
        drop(self.scene);
        kubelet.be_as_ever();
        nft(machine, "delete table ip cluster");
        machine.ip("route del 10.96.0.0/16 via 10.0.2.2 dev eth0\nlink del br-pods\nlink del always\nlink del MGMT");
    }

    pub fn obey(&mut self, words: &[&str]) -> Option<String> {
        self.scene.obey(words)
    }
}

/// Everything on a machine that an agent could have changed. The directories are those of the container runtime.
pub fn state(machine: &Lab, directories: &str) -> String {
    // Interfaces of pods come and go; what the kernel counts is no setting. The plugin stays, for runtimes that need it for DEL,
    // and its mark is never there alone.
    let commands = [
        format!(
            "find {directories} -type f -not -name vrfgate -not -name .vrfgate.uninstalled -exec sha256sum '{{}}' + | sort"
        ),
        format!(
            "find {directories} -name .vrfgate.uninstalled -printf '%h\\n' | \
             while read -r place; do [ -e $place/vrfgate ] || echo $place: a mark without its plugin; done"
        ),
        "find /run/vrfgate -mindepth 1".to_owned(),
        "find /sys/fs/bpf -mindepth 1".to_owned(),
        "ls /run/netns".to_owned(),
        "grep -rs . /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/core | grep -v '/veth' | sort".to_owned(),
    ];
    let mut state = vec![scene::state(machine)];
    state.extend(
        commands
            .iter()
            .map(|command| format!("{command}:\n{}", output(command))),
    );
    state.join("\n")
}

/// Memory of every process of vrfgate, in KiB, one a line: `resident pss command`.
pub fn memory() -> String {
    output(
        "for pid in $(pgrep -x vrfgate); do \
           echo $(sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status) \
             $(sed -n 's/^Pss:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/smaps_rollup) \
             $(tr '\\0' ' ' </proc/$pid/cmdline | cut -d' ' -f1-2); done",
    )
}

/// The capabilities of agents' processes, as the kernel has them: effective and bounding, of each. When there is no
/// agent, all processes.
pub fn capabilities() -> String {
    output(
        "pgrep -f '^/vrfgate agent ' >/dev/null || ps -ef; \
         for pid in $(pgrep -f '^/vrfgate agent '); do \
           echo $(sed -n 's/^Cap\\(Eff\\|Bnd\\):[^0-9a-f]*//p' /proc/$pid/status); done",
    )
}

fn nft(machine: &Lab, commands: &str) {
    let _ = machine.output(Command::new("nft").arg(commands));
}
