//! Below the command: engine, files and facts.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use vrfgate_core::{Link, LinkKind, LocalAddress, NodeFacts, Posture};
use vrfgate_ebpf::Gate;
use vrfgate_operator::{
    api::read_leaks,
    leak_files::LeakFiles,
    node::{Engine, Watcher},
};

use crate::sandbox::{Sandbox, leak};

#[test]
fn leaks_and_facts_arrive_at_the_gate_as_they_were_written() {
    let sandbox = Sandbox::new();
    let text = "
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: blue}
spec:
  vrf: BLUE
  services:
    - {name: web, protocol: TCP, port: 8000, endPort: 8080, addresses: [192.0.2.1/32], sources: [10.0.0.0/8]}
---
apiVersion: vrfgate.dev/v1alpha1
kind: VrfLeak
metadata: {name: red}
spec:
  vrf: RED
  mode: Audit
  services:
    - {name: dns, protocol: UDP, port: 53, addresses: [192.0.2.1/32]}
";
    let leaks = read_leaks("text", text).unwrap();
    let vrf = |ifindex: u32, name: &str| Link {
        ifindex,
        name: name.into(),
        kind: LinkKind::Vrf {
            table: Some(ifindex),
        },
        master: None,
    };
    let lan = Link {
        kind: LinkKind::Other,
        ..vrf(2, "lan")
    };
    let facts = NodeFacts {
        links: vec![lan, vrf(7, "BLUE"), vrf(8, "RED"), vrf(9, "OTHER")],
        addresses: vec![LocalAddress {
            ifindex: 2,
            address: "192.0.2.1".parse().unwrap(),
        }],
        prefixes: Vec::new(),
    };
    let mut engine = Engine::new(sandbox.store(), sandbox.netns());
    assert!(engine.reconcile(&leaks, &facts).unwrap().attached);
    assert!(!engine.reconcile(&leaks, &facts).unwrap().attached);

    let status = Gate::inspect(&sandbox.store(), &sandbox.netns()).unwrap();
    let vrfs = status.unwrap().vrfs;
    let modes: Vec<_> = vrfs
        .iter()
        .map(|vrf| (vrf.ifindex, vrf.name.as_str(), vrf.posture))
        .collect();
    assert_eq!(
        modes,
        [
            (7, "BLUE", Posture::Enforced),
            (8, "RED", Posture::Audited),
            (9, "OTHER", Posture::AsBefore)
        ]
    );
    let web = &vrfs[0].rules[0].rule;
    assert_eq!(
        (web.name.as_str(), web.opens[0].ports.to_string().as_str()),
        ("blue/web", "8000-8080")
    );
    assert_eq!(web.sources, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(vrfs[1].rules[0].rule.opens[0].ports.to_string(), "53");
    assert!(vrfs[2].rules.is_empty());
}

#[test]
fn one_mistake_in_one_file_and_no_leak_is_read() {
    let directory = TempDir::new().unwrap();
    let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
    let files = LeakFiles::new(vec![directory.path().to_owned()]);
    write("b.yaml", &leak("blue", "BLUE", 22));
    write("a.yml", &leak("red", "RED", 22));
    write("notes.txt", "kind: [");
    write("b.yaml~", "kind: [");
    let names: Vec<String> = files
        .read()
        .unwrap()
        .iter()
        .map(|leak| leak.name.to_string())
        .collect();
    assert_eq!(names, ["red", "blue"], "in the order of the files' names");

    write("c.json", "kind: [");
    let errors = files.read().unwrap_err();
    assert!(errors[0].contains("c.json"), "{errors:?}");
    write("c.json", &leak("blue", "GREEN", 22));
    assert!(
        !files.read().unwrap_err().is_empty(),
        "two leaks of one name"
    );
}

#[test]
fn of_a_file_its_directory_is_watched_because_editors_replace_files() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("leak.yaml");
    fs::write(&file, "").unwrap();
    let files = LeakFiles::new(vec![file, directory.path().to_owned(), "here.yaml".into()]);
    assert_eq!(
        files.directories(),
        [directory.path(), Path::new(".")].map(Path::to_owned)
    );
}

#[tokio::test]
async fn facts_hold_our_end_of_a_link_its_master_and_where_the_local_table_is_looked_up() {
    let sandbox = Sandbox::new();
    sandbox.ip("link add br0 type bridge");
    sandbox.ip("link add lan type veth peer name far");
    sandbox.ip("link set lan master br0");
    sandbox.ip("address add 192.0.2.1 peer 192.0.2.2/32 dev lan");
    let watcher = Watcher::new(&sandbox.netns()).unwrap();
    let facts = watcher.facts().await.unwrap();
    let of = |name: &str| facts.links.iter().find(|link| link.name == name).unwrap();
    assert_eq!(of("lan").master, Some(of("br0").ifindex));
    assert_eq!(of("br0").master, None);
    let ipv4: Vec<_> = facts
        .addresses
        .iter()
        .filter(|local| local.ifindex == of("lan").ifindex && local.address.is_ipv4())
        .map(|local| local.address.to_string())
        .collect();
    assert_eq!(ipv4, ["192.0.2.1"], "ours, not the peer's");

    assert_eq!(
        watcher.local_rule_preferences().await.unwrap(),
        [Some(0), Some(0)]
    );
    sandbox.ip("rule add preference 32765 lookup local");
    assert_eq!(
        watcher.local_rule_preferences().await.unwrap(),
        [Some(0), Some(0)]
    );
    sandbox.ip("rule delete preference 0");
    assert_eq!(
        watcher.local_rule_preferences().await.unwrap(),
        [Some(32765), Some(0)]
    );
}

#[tokio::test]
async fn every_new_device_and_address_is_a_change_and_nothing_else_is() {
    let sandbox = Sandbox::new();
    sandbox.ip("link add lan type veth peer name far");
    let mut watcher = Watcher::new(&sandbox.netns()).unwrap();
    let soon = Duration::from_secs(5);
    for change in [
        "address add 192.0.2.1/24 dev lan",
        "address add 2001:db8::1/64 dev lan nodad",
        "link add BLUE type veth peer name green",
        "link delete BLUE",
    ] {
        sandbox.ip(change);
        let seen = tokio::time::timeout(soon, watcher.changed()).await;
        assert!(matches!(seen, Ok(Some(_))), "{change}: {seen:?}");
        while tokio::time::timeout(Duration::from_millis(200), watcher.changed())
            .await
            .is_ok()
        {}
    }
}
