//! DEL, with and without the namespace.

use super::*;

#[test]
fn del_takes_the_gate_away_with_the_last_attachment_only() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
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
fn del_does_not_need_the_namespace() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
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
    let plugin = Sandbox::plugin();
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
    let mut sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
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
    let mut sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
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
    let plugin = Sandbox::plugin();
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
fn a_broken_record_is_named_in_the_log_and_stops_nobody() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
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

/// Somebody has edited the record, or the disk was full.
#[test]
fn a_record_that_can_not_be_read_does_not_keep_its_pod_from_going() {
    // Two services of one port, which no ADD records.
    let two = json!([
        {"name": "a", "protocol": "TCP", "port": 80},
        {"name": "b", "protocol": "TCP", "port": 80},
    ]);
    for (verb, spoilt, gate_goes) in [
        ("DEL", Some(&two), true),
        ("DEL", None, false),
        ("GC", Some(&two), true),
        ("GC", None, false),
    ] {
        let sandbox = Sandbox::new();
        let plugin = Sandbox::plugin();
        let attachment = sandbox.attachment("blue", "net1", &tcp("http", 8080));
        attach(&sandbox, &attachment);
        let record = sandbox.attachments().path(&attachment.key);
        let text = match spoilt {
            Some(services) => {
                let mut text: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
                text["services"] = services.clone();
                text.to_string()
            }
            None => String::new(),
        };
        fs::write(&record, text).unwrap();

        let call = sandbox.call(&plugin, verb, "1.1.0");
        call.set("cni.dev/valid-attachments", json!([])).must();

        assert!(!record.exists(), "{verb} {spoilt:?}");
        let log = fs::read_to_string(sandbox.path("log")).unwrap();
        let path = record.display().to_string();
        assert!(log.contains(&path), "{verb} {log}");
        assert_eq!(!sandbox.pins().exists(), gate_goes, "{verb} {spoilt:?}");
    }
}

#[test]
fn a_pod_goes_although_the_log_can_not_be_written() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let lost = sandbox.path("nowhere/log");
    let add = sandbox.call(&plugin, "ADD", "1.0.0");
    let del = sandbox.call(&plugin, "DEL", "1.0.0");
    sandbox.places(&json!({"logFile": lost}));
    let refused = add.run();
    assert_eq!(refused.code(), Some(5), "{refused:?}");
    del.must();
    assert_eq!(sandbox.left(), nothing());
}
