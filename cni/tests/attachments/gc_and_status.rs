//! GC and STATUS.

use super::*;

#[test]
fn gc_takes_what_the_runtime_does_not_know_and_of_its_own_network_only() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    for (network, ifname, port) in [("blue", "net1", 1), ("blue", "net2", 2), ("red", "net3", 3)] {
        attach(
            &sandbox,
            &sandbox.attachment(network, ifname, &tcp("x", port)),
        );
    }
    let gc = sandbox.call(&plugin, "GC", "1.1.0");
    let known = json!([{"containerID": CONTAINER, "ifname": "net2"}]);
    let gc = gc.set("cni.dev/valid-attachments", known);
    gc.must();
    gc.must();
    let left: Vec<String> = sandbox
        .attachments()
        .all()
        .unwrap()
        .into_iter()
        .map(|attachment| attachment.key.ifname)
        .collect();
    assert_eq!(left, ["net2", "net3"]);

    // Go writes an empty list like this.
    let none = gc.set("cni.dev/valid-attachments", Value::Null);
    none.must();
    none.set("name", json!("red")).must();
    assert_eq!(sandbox.left(), nothing());
}

#[test]
fn gc_collects_pods_whose_namespaces_vanished() {
    let mut sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    sandbox.lose_namespace();
    let gc = sandbox.call(&plugin, "GC", "1.1.0");
    gc.set("cni.dev/valid-attachments", json!([])).must();
    assert_eq!(sandbox.left(), nothing());
}

#[test]
fn gc_without_the_list_removes_nothing() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    let reply = sandbox.call(&plugin, "GC", "1.1.0").run();
    assert_eq!(reply.code(), Some(7));
    assert!(
        reply.details().contains("cni.dev/valid-attachments"),
        "{reply:?}"
    );
    assert!(lets_in(&sandbox, 8080));
}

#[test]
fn status_says_why_the_node_is_not_ready_and_is_ready_again_when_that_is_repaired() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let status = sandbox.call(&plugin, "STATUS", "1.1.0");
    sandbox.places(&json!({"bpffs": sandbox.path("")}));
    let reply = status.run();
    assert_eq!(reply.code(), Some(50), "{reply:?}");
    assert!(reply.details().contains("mount -t bpf bpf"), "{reply:?}");

    attach(
        &sandbox,
        &sandbox.attachment("blue", "net1", &tcp("http", 8080)),
    );
    assert_eq!(status.run().code(), Some(51));
    let other_network = status.clone().set("name", json!("red"));
    assert_eq!(other_network.run().code(), Some(50));
    sandbox.places(&json!({}));
    status.must();
}

#[test]
fn status_wants_an_agent_where_one_is_required() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let status = sandbox.call(&plugin, "STATUS", "1.1.0");
    let status = status.set("required", json!(true));
    fs::create_dir(sandbox.path("run")).unwrap();
    let reply = status.run();
    assert_eq!(reply.code(), Some(50));
    assert!(reply.details().contains("agent.sock"), "{reply:?}");
    let _agent = UnixListener::bind(sandbox.path("run/agent.sock")).unwrap();
    status.must();
}
