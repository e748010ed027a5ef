//! DEL, with and without the namespace.

use super::*;

#[test]
fn del_takes_the_gate_away_with_the_last_attachment_only() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net2", &tcp("dns", 53)),
    );

    let del = sandbox.call(&plugin, "DEL", "1.0.0");
    del.clone().must();
    assert!(sandbox.pins().exists());
    let left = sandbox.attachments().all().unwrap();
    assert_eq!(left.len(), 1, "{left:?}");

    let last = del.with("CNI_IFNAME", "net2");
    last.must();
    assert_eq!(sandbox.left(), nothing());
    assert!(!tcp_sysctl(&sandbox));
    last.must();
}

#[test]
fn del_does_not_need_to_be_told_the_namespace() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let del = sandbox.call(&plugin, "DEL", "1.0.0").without("CNI_NETNS");
    del.must();
    assert_eq!(sandbox.left(), nothing());
    assert!(!tcp_sysctl(&sandbox));
}

#[test]
fn del_of_another_network_or_container_changes_nothing() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let del = sandbox.call(&plugin, "DEL", "1.0.0");
    del.clone().set("name", json!("red")).must();
    del.clone().with("CNI_CONTAINERID", "another").must();
    del.with("CNI_IFNAME", "net2").must();
    assert!(lets_in(&sandbox, 8080));
}

#[test]
fn del_after_the_namespace_is_gone_leaves_nothing() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let del = sandbox.call(&plugin, "DEL", "1.0.0");
    sandbox.lose_namespace();
    del.must();
    assert_eq!(sandbox.left(), nothing());
}

#[test]
fn a_new_namespace_of_the_same_name_inherits_nothing_and_loses_nothing() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    sandbox.lose_namespace();
    sandbox.make_namespace();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net2", &tcp("dns", 53)),
    );
    assert!(!lets_in(&sandbox, 8080) && lets_in(&sandbox, 53));

    sandbox.call(&plugin, "DEL", "1.0.0").must();
    assert!(lets_in(&sandbox, 53));
    let del = sandbox.call(&plugin, "DEL", "1.0.0");
    del.with("CNI_IFNAME", "net2").must();
    assert_eq!(sandbox.left(), nothing());
}

#[test]
fn interfaces_of_one_pod_that_go_at_the_same_time_do_not_disturb_each_other() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.plugin();
    let names: Vec<String> = (1..=8).map(|number| format!("net{number}")).collect();
    for (name, port) in names.iter().zip(8001..) {
        let attachment = sandbox.attachment("blue", name, &tcp("http", port));
        sandbox.attachments().write(&attachment).unwrap();
    }
    settle(&sandbox).unwrap();
    thread::scope(|scope| {
        for name in &names {
            let del = sandbox.call(&plugin, "DEL", "1.0.0");
            scope.spawn(move || del.with("CNI_IFNAME", name).must());
        }
    });
    assert_eq!(sandbox.left(), nothing());
    assert!(!tcp_sysctl(&sandbox));
}

#[test]
fn a_broken_record_is_told_in_the_log_and_stops_nobody() {
    let sandbox = Sandbox::new();
    let plugin = sandbox.plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let broken = sandbox.attachments().directory().join("blue:x:net9.json");
    fs::write(&broken, "{").unwrap();
    sandbox.call(&plugin, "DEL", "1.0.0").must();
    assert!(!sandbox.pins().exists());
    assert!(sandbox.log().contains("net9"), "{}", sandbox.log());
}
