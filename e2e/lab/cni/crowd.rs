//! Many pods under one agent, which may have only so many files open.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use vrfgate_e2e::{Answer, CniNode, Host, Interface, Lab, Listener, Outcome, Transport};

use crate::{
    net::V4,
    suite::{soon, tests},
};

tests! {
    "cni::crowd";
    once:
        sixty_pods_are_all_looked_after_by_an_agent_and_by_the_one_after_it,
        pods_that_an_agent_cannot_look_after_stay_as_they_are_and_are_taken_up_when_others_go;
}

/// As many as container runtimes work on at the same time, and more than this machine has processors.
const AT_A_TIME: usize = 4;

/// What a container of containerd 2 gets: systemd's soft limit, which is too low, and its hard one.
const CONTAINERD: &str = "1024:524288";

/// What an agent takes a pod to need of open files.
const FILES_OF_A_POD: usize = 20;

/// Listed by nothing.
const CLOSED: u16 = 443;

/// A pod with servers, and a client in its VRF.
struct Pod {
    name: String,
    machine: Lab,
    client: Host,
    _servers: [Listener; 4],
}

impl Pod {
    fn new(number: usize) -> Self {
        let (machine, client) = V4.one_vrf();
        let ports = [22, 80, CLOSED, 8080];
        Self {
            name: format!("p{number}"),
            _servers: ports.map(|port| machine.listen("pod").tcp(("0.0.0.0", port))),
            machine,
            client,
        }
    }

    /// Its network opens 8080.
    fn interface<'node>(&self, node: &'node CniNode, required: bool) -> Interface<'node> {
        let mut config = super::open(8080);
        config["required"] = required.into();
        let interface = node.interface(&self.machine, "net1", &config);
        interface.of_pod("core", &self.name)
    }

    fn serves(&self, port: u16) -> bool {
        let outcome = self.client.connect(V4.main(port)).outcome();
        outcome == Outcome::Reached("pod".to_owned())
    }

    #[track_caller]
    fn serves_only(&self, open: &[u16]) {
        for port in [22, 80, CLOSED, 8080] {
            let attempt = self.client.connect(V4.main(port));
            if open.contains(&port) {
                attempt.should_reach("pod");
            } else {
                attempt.should_be_refused();
            }
        }
    }

    #[track_caller]
    fn has_nothing_left(&self, node: &CniNode) {
        let number = self.machine.netns().inode().to_string();
        let mut left = node.left();
        left.extend(node.records());
        left.retain(|path| {
            let path = path.to_string_lossy();
            path.contains(&number) || path.contains(self.machine.netns().name())
        });
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.machine.sysctl("net.ipv4.tcp_l3mdev_accept"), "0");
    }
}

fn pods(count: usize) -> Vec<Pod> {
    let numbers: Vec<usize> = (0..count).collect();
    a_few_at_a_time(&numbers, |number| Pod::new(*number))
}

/// A leak for these pods that opens one TCP port to BLUE.
fn spec(pods: &[Pod], port: u16) -> Value {
    let pods: Vec<Value> = pods
        .iter()
        .map(|Pod { name, .. }| {
            json!({"namespace": "core", "name": name, "uid": name, "leaks": ["upf"]})
        })
        .collect();
    json!({
        "pods": pods,
        "podLeaks": [{
            "name": "upf", "generation": 1, "vrf": "BLUE", "mode": "Enforce", "replies": "Route",
            "services": [{"name": "s", "protocol": "TCP", "port": port, "endPort": port,
                          "addresses": ["0.0.0.0/0"]}],
        }],
    })
}

/// Does something with each, a few at the same time.
fn a_few_at_a_time<T: Sync, R: Send>(all: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = each(one);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// A verb for each, which must succeed.
#[track_caller]
fn each_must(verb: &str, node: &CniNode, pods: &[Pod], required: bool) {
    let answers = a_few_at_a_time(pods, |pod| pod.interface(node, required).call(verb));
    let refused: Vec<&Answer> = answers.iter().filter(|one| one.code.is_some()).collect();
    let (count, all) = (refused.len(), pods.len());
    assert!(
        count == 0,
        "{verb}: {count} of {all} refused: {:?}",
        refused[0]
    );
}

fn sixty_pods_are_all_looked_after_by_an_agent_and_by_the_one_after_it() {
    const PODS: usize = 60;
    let machine = Lab::new();
    let node = CniNode::new();
    let pods = pods(PODS);
    let closed = [(Transport::Tcp, V4.main(CLOSED))];
    let scanners = [0, PODS / 2, PODS - 1].map(|pod| pods[pod].client.keep_scanning(&closed));

    let agent = node.agent_with_files(&machine, &spec(&pods, 22), CONTAINERD);
    let of_its_own = agent.open_files();
    each_must("ADD", &node, &pods, true);
    for pod in &pods {
        pod.serves_only(&[22, 8080]);
    }
    let all = agent.open_files();
    assert!(
        all <= of_its_own + PODS * FILES_OF_A_POD,
        "{of_its_own} files open, and {all} with {PODS} pods"
    );

    agent.kill();
    let agent = node.agent_with_files(&machine, &spec(&pods, 80), CONTAINERD);
    soon("every pod follows the leak's edit", || {
        pods.iter().all(|pod| pod.serves(80))
    });
    for pod in &pods {
        pod.serves_only(&[80, 8080]);
    }

    each_must("DEL", &node, &pods, true);
    for pod in &pods {
        pod.has_nothing_left(&node);
    }
    soon("what was open for the pods is closed", || {
        agent.open_files() < of_its_own + PODS
    });
    for scanner in scanners {
        assert!(scanner.attempts() > 0 && scanner.open().is_empty());
    }
}

fn pods_that_an_agent_cannot_look_after_stay_as_they_are_and_are_taken_up_when_others_go() {
    const PODS: usize = 10;
    const LOOKED_AFTER: usize = 6;
    let machine = Lab::new();
    let node = CniNode::new();
    let mut pods = pods(PODS);
    each_must("ADD", &node, &pods, false);

    // The hard limit is no more than six pods can do with.
    let agent = node.agent_with_files(&machine, &spec(&pods, 22), "100:240");
    let looked_after = |pods: &[Pod]| pods.iter().filter(|pod| pod.serves(22)).count();
    soon("as many as can be are looked after", || {
        looked_after(&pods) == LOOKED_AFTER
    });
    agent.should_say("no more than 6 pods");
    let as_they_are = |pods: &[Pod]| {
        for pod in pods {
            pod.client.connect(V4.main(8080)).should_reach("pod");
            pod.client.connect(V4.main(CLOSED)).should_be_refused();
        }
    };
    as_they_are(&pods);

    // One more that needs an agent is refused, and leaves nothing.
    let late = Pod::new(PODS);
    late.interface(&node, true)
        .should_refuse("ADD", 11, "no more than 6 pods");
    late.has_nothing_left(&node);
    late.serves_only(&[]);

    // Not a single file more (those that it has are more than three): everything stays as it is.
    agent.limit_files("3:");
    agent.should_say("pods keep what they have");
    as_they_are(&pods);
    assert_eq!(looked_after(&pods), LOOKED_AFTER);
    agent.limit_files("240:");

    // When some go, others are taken up.
    pods.sort_by_key(|pod| !pod.serves(22));
    let rest = pods.split_off(PODS - LOOKED_AFTER);
    each_must("DEL", &node, &pods, false);
    soon("the others are taken up", || {
        looked_after(&rest) == LOOKED_AFTER
    });
    as_they_are(&rest);
    each_must("DEL", &node, &rest, false);
    for pod in pods.iter().chain(&rest) {
        pod.has_nothing_left(&node);
    }
}
