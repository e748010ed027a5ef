//! What is in force while there are attachments.

use super::*;

#[test]
fn the_listed_service_is_open_and_the_rest_is_closed() {
    let sandbox = Sandbox::new();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    assert!(lets_in(&sandbox, 8080));
    assert!(!lets_in(&sandbox, 8081));
    assert!(tcp_sysctl(&sandbox));
}

#[test]
fn an_attachment_without_services_closes_everything() {
    let sandbox = Sandbox::new();
    attach(&sandbox, &sandbox.attachment("blue", "net1", &json!([])));
    assert!(!lets_in(&sandbox, 8080));
}

#[test]
fn attachments_of_one_pod_share_a_gate_and_each_takes_its_own_away() {
    let sandbox = Sandbox::new();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    attach(
        &sandbox,
        &sandbox.attachment("red", "net2", &tcp("dns", 53)),
    );
    assert!(lets_in(&sandbox, 8080) && lets_in(&sandbox, 53));

    sandbox.attachments().remove(&key("blue", "net1")).unwrap();
    settle(&sandbox).unwrap();
    assert!(!lets_in(&sandbox, 8080) && lets_in(&sandbox, 53));

    sandbox.attachments().remove(&key("red", "net2")).unwrap();
    settle(&sandbox).unwrap();
    assert_eq!(sandbox.left(), nothing());
    assert!(!tcp_sysctl(&sandbox));
}

#[test]
fn the_same_service_twice_is_open_until_both_are_gone() {
    let sandbox = Sandbox::new();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    attach(
        &sandbox,
        &sandbox.attachment("red", "net2", &tcp("web", 8080)),
    );
    sandbox.attachments().remove(&key("blue", "net1")).unwrap();
    settle(&sandbox).unwrap();
    assert!(lets_in(&sandbox, 8080));
}

#[test]
fn an_attachment_that_contradicts_another_changes_nothing() {
    let sandbox = Sandbox::new();
    let blue = sandbox.attachment("blue", "net1", &tcp("http", 8080));
    attach(&sandbox, &blue);
    let restricted = json!([
        {"name": "web", "protocol": "TCP", "port": 8000, "endPort": 8100, "sources": ["10.0.0.0/8"]}
    ]);
    let red = sandbox.attachment("red", "net2", &restricted);
    let found = contradiction(&red, std::slice::from_ref(&blue)).unwrap();
    assert_eq!((&found.later, &found.earlier), (&red.key, &blue.key));
    let message = found.to_string();
    for name in ["web", "http of net1 in network blue", "8080"] {
        assert!(message.contains(name), "{message}");
    }
    // Also if it is recorded all the same.
    sandbox.attachments().write(&red).unwrap();
    settle(&sandbox).unwrap();
    assert!(lets_in(&sandbox, 8080) && !lets_in(&sandbox, 8000));
}

#[test]
fn attachments_contradict_each_other_only_in_a_vrf_that_both_are_for() {
    let sandbox = Sandbox::new();
    let of = |ifname: &str, vrf: Option<&str>, services: &Value| {
        let mut attachment = sandbox.attachment("blue", ifname, services);
        attachment.vrf = vrf.map(|vrf| vrf.to_owned().try_into().unwrap());
        attachment
    };
    let port = tcp("http", 8080);
    let range = json!([{"name": "all", "protocol": "TCP", "port": 8000, "endPort": 8100}]);
    for (one, other, contradict) in [
        (Some("BLUE"), Some("BLUE"), true),
        (Some("BLUE"), Some("RED"), false),
        (None, Some("RED"), true),
        (Some("BLUE"), None, true),
        (None, None, true),
    ] {
        let (first, second) = (of("net1", one, &port), of("net2", other, &range));
        let found = contradiction(&second, &[first]);
        assert_eq!(found.is_some(), contradict, "{one:?} {other:?}");
    }
}

/// The two contradict each other in RED. One of them is in force in BLUE all the same.
#[test]
fn an_attachment_is_left_out_only_of_the_vrf_in_which_it_contradicts_another() {
    let sandbox = Sandbox::new();
    let restricted = json!([
        {"name": "http", "protocol": "TCP", "port": 8080, "sources": ["10.0.0.0/8"]}
    ]);
    let mut first = sandbox.attachment("alpha", "net1", &restricted);
    first.vrf = Some("RED".to_owned().try_into().unwrap());
    let second = sandbox.attachment("zeta", "net2", &tcp("http", 8080));
    let both = [first.clone(), second.clone()];
    let rules = rule_set(&both, &facts()).unwrap().vrfs().clone();
    let names = |ifindex: u32| -> Vec<&str> {
        let rules = rules[&ifindex].rules.iter();
        rules.map(|rule| rule.name.as_str()).collect()
    };
    assert_eq!(names(0).len(), 1, "{:?}", names(0));
    assert!(names(0)[0].starts_with("cni.zeta.net2."));
    assert_eq!(names(7), ["cni.alpha.net1/http"]);
    let left_out_of = |vrfs: &[&str]| left_out(&both, vrfs.iter().copied());
    assert_eq!(left_out_of(&["BLUE"]), []);
    let of_both = left_out_of(&["BLUE", "RED"]);
    assert_eq!(of_both.len(), 1);
    assert_eq!(of_both[0].later, second.key);
}

#[test]
fn services_are_on_every_address_that_packets_of_the_vrf_can_have() {
    let sandbox = Sandbox::new();
    let attachment = sandbox.attachment("blue", "net1", &tcp("http", 8080));
    let set = rule_set(&[attachment], &facts()).unwrap();
    let addresses = |ifindex: u32| -> Vec<String> {
        let rule = &set.vrfs()[&ifindex].rules[0];
        rule.opens[0]
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(addresses(0), ["10.1.0.5", "10.244.0.5", "2001:db8::5"]);
    assert_eq!(addresses(7), ["10.2.0.5", "10.244.0.5", "2001:db8::5"]);
    assert_eq!(*set.slaves(), [(3, 0), (8, 7)].into());
}

/// Packets that a pod sends to itself through a slave are gated like packets from outside.
#[test]
fn slaves_are_gated_with_their_vrfs() {
    let sandbox = Sandbox::new();
    let attachment = sandbox.attachment("blue", "net1", &tcp("http", 8080));
    attach(&sandbox, &attachment);
    let gate = Gate::inspect(&sandbox.store(), &sandbox.netns()).unwrap();
    let slaves: Vec<_> = gate
        .unwrap()
        .vrfs
        .into_iter()
        .map(|vrf| (vrf.name, vrf.slaves))
        .collect();
    let expected = [("BLUE", 3), ("RED", 8)].map(|(vrf, slave)| (vrf.to_owned(), vec![slave]));
    assert_eq!(slaves, expected);
}

#[test]
fn loopback_and_link_local_addresses_are_opened_only_by_a_prefix_wholly_among_them() {
    let sandbox = Sandbox::new();
    let opened = |prefix: &str| -> Vec<String> {
        let services = json!([
            {"name": "http", "protocol": "TCP", "port": 8080, "addresses": [prefix]}
        ]);
        let attachment = sandbox.attachment("blue", "net1", &services);
        let set = rule_set(&[attachment], &facts()).unwrap();
        let addresses = &set.vrfs()[&0].rules[0].opens[0].addresses;
        addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(opened("0.0.0.0/0"), ["10.1.0.5", "10.244.0.5"]);
    assert_eq!(opened("::/0"), ["2001:db8::5"]);
    for wide in ["168.0.0.0/6", "169.254.0.0/15", "126.0.0.0/7", "fe80::/9"] {
        assert_eq!(opened(wide), [""; 0], "{wide}");
    }
    assert_eq!(opened("169.254.0.0/16"), ["169.254.20.10"]);
    assert_eq!(opened("127.0.0.0/8"), ["127.0.0.1"]);
    assert_eq!(opened("fe80::/10"), ["fe80::5"]);
    assert_eq!(opened("::1/128"), ["::1"]);
}

#[test]
fn services_of_a_named_vrf_are_for_that_one_and_the_others_stay_closed() {
    let sandbox = Sandbox::new();
    let services = json!([
        {"name": "http", "protocol": "TCP", "port": 8080, "addresses": ["10.0.0.0/8"]}
    ]);
    let red = Attachment {
        vrf: Some(String::from("RED").try_into().unwrap()),
        ..sandbox.attachment("red", "net2", &services)
    };
    let set = rule_set(&[red], &facts()).unwrap();
    assert!(set.vrfs()[&0].rules.is_empty());
    let addresses = &set.vrfs()[&7].rules[0].opens[0].addresses;
    assert_eq!(addresses.len(), 2, "{addresses:?}");
}

#[test]
fn a_gate_that_somebody_took_away_is_put_in_again() {
    let sandbox = Sandbox::new();
    let attachment = sandbox.attachment("blue", "net1", &tcp("http", 8080));
    attach(&sandbox, &attachment);
    fs::remove_file(sandbox.pins().join("link")).unwrap();
    settle(&sandbox).unwrap();
    assert!(lets_in(&sandbox, 8080));
    assert!(tcp_sysctl(&sandbox));
}

/// A DEL was lost, and the runtime gave the namespace to another container.
#[test]
fn an_interface_belongs_to_one_container_at_a_time() {
    let sandbox = Sandbox::new();
    let of = |container: &str| {
        let mut attachment = sandbox.attachment("blue", "net1", &tcp("http", 8080));
        attachment.key.container_id = container.to_owned();
        attachment
    };
    let (first, second) = (of("one"), of("two"));
    let found = contradiction(&second, std::slice::from_ref(&first)).unwrap();
    let message = found.to_string();
    for words in ["net1 in network blue", "container one", "DEL"] {
        assert!(message.contains(words), "{message}");
    }
    let again = contradiction(&first, std::slice::from_ref(&first));
    assert_eq!(again, None);
    for attachment in [&first, &second] {
        sandbox.attachments().write(attachment).unwrap();
    }
    settle(&sandbox).unwrap();
    assert!(lets_in(&sandbox, 8080));
}
