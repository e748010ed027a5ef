//! Many pods, and many times.

use std::thread;

use vrfgate_e2e::{Answer, CniNode, Interface, Lab};

use super::open;
use crate::{net::V4, suite::tests};

tests! {
    "cni";
    once:
        pods_that_start_at_the_same_time_do_not_disturb_each_other,
        interfaces_of_one_pod_that_come_at_the_same_time_all_get_their_rules,
        a_hundred_pods_up_and_down_leave_nothing;
}

fn pods_that_start_at_the_same_time_do_not_disturb_each_other() {
    let pods: Vec<_> = (0..4).map(|_| V4.one_vrf()).collect();
    let node = CniNode::new();
    let interfaces: Vec<_> = pods
        .iter()
        .map(|(pod, _)| node.interface(pod, "net1", &open(8080)))
        .collect();
    at_the_same_time(&interfaces, "ADD");
    for (pod, client) in &pods {
        let _http = pod.listen("http").tcp("0.0.0.0:8080");
        let _ssh = pod.listen("ssh").tcp("0.0.0.0:22");
        client.connect(V4.main(8080)).should_reach("http");
        client.connect(V4.main(22)).should_be_refused();
    }
    at_the_same_time(&interfaces, "DEL");
    assert!(node.left().is_empty(), "{:?}", node.left());
}

fn interfaces_of_one_pod_that_come_at_the_same_time_all_get_their_rules() {
    let (pod, client) = V4.one_vrf();
    let node = CniNode::new();
    let interfaces: Vec<_> = (1..=4)
        .map(|number| node.interface(&pod, &format!("net{number}"), &open(8000 + number)))
        .collect();
    at_the_same_time(&interfaces, "ADD");
    for port in 8001..=8004 {
        let _server = pod.listen("pod").tcp(("0.0.0.0", port));
        client.connect(V4.main(port)).should_reach("pod");
    }
}

/// A verb for each interface, all at once. All must succeed.
#[track_caller]
fn at_the_same_time(interfaces: &[Interface<'_>], verb: &str) {
    let answers: Vec<Answer> = thread::scope(|scope| {
        let calls: Vec<_> = interfaces
            .iter()
            .map(|interface| scope.spawn(|| interface.call(verb)))
            .collect();
        calls
            .into_iter()
            .filter_map(|call| call.join().ok())
            .collect()
    });
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.code.is_some())
        .collect();
    assert!(
        refused.is_empty() && answers.len() == interfaces.len(),
        "{refused:?}"
    );
}

fn a_hundred_pods_up_and_down_leave_nothing() {
    const PODS: usize = 100;
    const AT_A_TIME: usize = 4;
    let node = CniNode::new();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                for _ in 0..PODS / AT_A_TIME {
                    let pod = Lab::new();
                    pod.vrf("BLUE");
                    let net1 = node.interface(&pod, "net1", &open(8080));
                    net1.add();
                    net1.del();
                }
            });
        }
    });
    assert!(node.left().is_empty(), "{:?}", node.left());
}
