//! A node that runs pods: its parts, and its commands.

use vrfgate_e2e::{Host, Lab};

use crate::{
    Node,
    agent::Agent,
    kubelet::Kubelet,
    member::{self, Member},
    output,
};

pub struct Worker {
    /// This machine.
    machine: Lab,
    /// In the network that the pods' VRF belongs to.
    client: Host,
    agent: Agent,
    kubelet: Kubelet,
    /// While it is a node of a whole cluster.
    member: Option<Member>,
}

impl Worker {
    pub fn new(agent: Agent, kubelet: Kubelet) -> Self {
        output("modprobe -a bridge overlay");
        // As systemd does: later mounts must appear in containers that ask for it.
        output("mount --make-rshared /");
        let machine = Lab::on_this_machine();
        let client = machine.pod("client");
        // With what the plugin `bridge` would give it with the first pod, and leave.
        machine.ip(&format!(
            "link add br-blue type bridge\naddress add 10.1.0.1/16 dev br-blue nodad\nlink set br-blue up\n\
             link add client type veth peer name eth0 netns {}\n\
             link set client master br-blue\nlink set client up",
            client.netns().name()
        ));
        output("echo 0 >/proc/sys/net/ipv6/conf/br-blue/accept_ra");
        // Far from the addresses that pods get.
        client.ip("link set lo up\nlink set eth0 up\naddress add 10.1.255.2/16 dev eth0");
        Self {
            machine,
            client,
            agent,
            kubelet,
            member: None,
        }
    }

    /// Everything on this machine that comes with a pod.
    fn state(&self) -> String {
        // Neither directory of vrfgate need be there.
        let commands = [
            "find /sys/fs/bpf/vrfgate -mindepth 1",
            "find /run/vrfgate -mindepth 1 -not -name agent.sock",
            "ls /run/netns",
        ];
        let mut state: Vec<String> = commands
            .iter()
            .map(|command| format!("{command}:\n{}", output(command)))
            .collect();
        state.push(self.machine.ip_shows("-brief link show master br-blue"));
        state.join("\n")
    }
}

impl Node for Worker {
    fn obey(&mut self, words: &[&str]) -> String {
        match words {
            ["start", "the", "agent"] => self.agent.start(),
            ["kill", "the", "agent"] => self.agent.kill(),
            ["start", "the", "kubelet"] => self.kubelet.start(),
            ["crash", "the", "kubelet"] => self.kubelet.crash(),
            ["forget", "the", "pods"] => self.kubelet.forget(),
            ["browse", at] => return self.client.browse(*at).outcome().to_string(),
            ["unmount", "bpffs"] => drop(output("umount /sys/fs/bpf")),
            ["mount", "bpffs"] => drop(output("mount -t bpf bpf /sys/fs/bpf")),
            ["how", "does", "it", "stand?"] => return self.state(),
            ["join", "the", "cluster", "at", port] => {
                self.member = Some(Member::join(&self.machine, &self.kubelet, port));
            }
            ["leave", "the", "cluster"] => match self.member.take() {
                Some(member) => member.leave(&self.machine, &self.kubelet),
                None => panic!("it is in no cluster"),
            },
            ["import", image] => self.kubelet.import(image),
            ["attach", "pods", "to", "BLUE"] => self.kubelet.attach_pods_to_blue(),
            ["attach", "pods", "to", "no", "VRF"] => self.kubelet.attach_pods_to_no_vrf(),
            ["how", "does", "everything", "stand?"] => {
                return member::state(&self.machine, &self.kubelet.directories());
            }
            ["what", "may", "the", "agent", "do?"] => return member::capabilities(),
            ["how", "much", "memory?"] => return member::memory(),
            _ => match self.member.as_mut().and_then(|member| member.obey(words)) {
                Some(said) => return said,
                None => panic!("{words:?} is not understood"),
            },
        }
        String::new()
    }
}
