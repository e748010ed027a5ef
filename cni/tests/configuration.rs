//! Mistakes in the plugin's own part of a configuration are reported with the path of the field.

mod common;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
};

use common::Sandbox;
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};

/// A service, with some fields replaced.
fn service(changes: &Value) -> Value {
    let mut service = json!({"name": "http", "protocol": "TCP", "port": 8080});
    let fields = service.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            fields.remove(key);
        } else {
            fields.insert(key.clone(), value.clone());
        }
    }
    service
}

/// Two services, the second with some fields replaced.
fn second(changes: &Value) -> Value {
    let dns = json!({"name": "dns", "protocol": "UDP", "port": 53});
    json!({"services": [dns, service(changes)]})
}

#[test]
fn a_mistake_in_a_service_is_refused_with_the_path_of_its_field() {
    let cases = [
        (
            second(&json!({"port": 70000})),
            "services[1].port: 70000 is not a port (1-65535)",
        ),
        (
            second(&json!({"port": -1})),
            "services[1].port: -1 is not a port (1-65535)",
        ),
        (
            second(&json!({"port": 0})),
            "services[1].port: 0 is not a port (1-65535); every port is port: 1, endPort: 65535",
        ),
        (
            second(&json!({"port": "http"})),
            "services[1].port: invalid type: string \"http\", expected i64",
        ),
        (
            second(&json!({"port": null})),
            "services[1]: missing field `port`",
        ),
        (
            second(&json!({"addresses": ["192.0.2.0/24"], "sources": ["2001:db8::/32"]})),
            "services[1].sources: none is of the address family of any of addresses, so no client could use the service",
        ),
        (
            second(&json!({"endPort": 8000})),
            "services[1].endPort: 8000 is below port 8080, the first of the range",
        ),
        (
            second(&json!({"protocol": "SCTP"})),
            "services[1].protocol: unknown variant `SCTP`, expected `TCP` or `UDP`",
        ),
        (
            second(&json!({"name": "Http"})),
            "services[1].name: \"Http\" must be lower-case letters, digits and '-', with a letter or digit at both ends",
        ),
        (
            second(&json!({"name": "dns"})),
            "services[1].name: dns is there already, at services[0].name",
        ),
        (
            second(&json!({"protocol": "UDP", "port": 50, "endPort": 60})),
            "services[1]: opens 53/UDP, which services[0] (dns) opens already",
        ),
        (
            second(&json!({"addresses": ["10.0.0.0/8", "192.0.2.1"]})),
            "services[1].addresses[1]: 192.0.2.1 is an address, not a prefix; write 192.0.2.1/32",
        ),
        (
            second(&json!({"sources": ["10.0.0.1/8"]})),
            "services[1].sources[0]: 10.0.0.1/8 has host bits set; write 10.0.0.0/8 or 10.0.0.1/32",
        ),
        (
            second(&json!({"sources": ["224.0.0.0/8"]})),
            "services[1].sources[0]: 224.0.0.0/8 is multicast, which the gate never sees",
        ),
        (
            second(&json!({"addresses": ["0.0.0.0/32"]})),
            "services[1].addresses[0]: 0.0.0.0/32 is no host's address; write 0.0.0.0/0 for every address",
        ),
        (
            second(&json!({"addresses": ["::ffff:192.0.2.0/120"]})),
            "services[1].addresses[0]: ::ffff:192.0.2.0/120 is an IPv4 address in IPv6 notation; write 192.0.2.0/24",
        ),
        (
            second(&json!({"addresses": ["2001:DB8::/32"]})),
            "services[1].addresses[0]: \"2001:DB8::/32\" is written in an unusual form; write 2001:db8::/32",
        ),
        (
            second(&json!({"sources": ["10.0.0.0/8", "10.0.0.0/8"]})),
            "services[1].sources[1]: 10.0.0.0/8 is there already, at services[1].sources[0]",
        ),
        (
            second(&json!({"serviceRef": {}})),
            "services[1].serviceRef: unknown field `serviceRef`, expected one of `name`, `protocol`, `port`, \
             `endPort`, `addresses`, `sources`",
        ),
    ];
    should_be_refused(&cases);
}

#[test]
fn a_mistake_in_a_key_is_refused_with_the_keys_name() {
    let cases = [
        (
            json!({"services": {}}),
            "services: invalid type: map, expected a sequence",
        ),
        (
            json!({"service": []}),
            "service: there is no such key; there are required, services, vrf",
        ),
        (
            json!({"vrf": "a/b"}),
            "vrf: \"a/b\" contains '/', which the kernel refuses in device names",
        ),
        (
            json!({"required": "yes"}),
            "required: invalid type: string \"yes\", expected a boolean",
        ),
    ];
    should_be_refused(&cases);
}

#[track_caller]
fn should_be_refused(cases: &[(Value, &str)]) {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    for (own, mistake) in cases {
        for verb in ["ADD", "CHECK", "STATUS"] {
            let mut call = sandbox.call(&plugin, verb, "1.1.0");
            call.config.extend(own.as_object().unwrap().clone());
            let reply = call.run();
            assert_eq!(reply.code(), Some(7), "{verb} {own}: {reply:?}");
            assert_eq!(reply.details(), *mistake, "{verb}");
        }
    }
}

#[test]
fn what_is_right_is_taken() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    for own in [
        json!({}),
        json!({"services": []}),
        second(
            &json!({"endPort": 8090, "addresses": ["0.0.0.0/0", "::/0"], "sources": ["10.0.0.0/8"]}),
        ),
        json!({"services": [
            service(&json!({"addresses": ["192.0.2.0/25"]})),
            service(&json!({"name": "other", "addresses": ["192.0.2.128/25"]})),
        ]}),
        // Neither a wide list nor a missing one covers what only the narrower prefix opens.
        json!({"services": [
            service(&json!({"addresses": ["0.0.0.0/0", "::/0"]})),
            service(&json!({"name": "dns", "addresses": ["169.254.20.10/32", "127.0.0.0/8", "fe80::/10"]})),
        ]}),
        json!({"services": [
            service(&json!({})),
            service(&json!({"name": "dns", "addresses": ["169.254.20.10/32"]})),
        ]}),
        second(&json!({"addresses": ["192.0.2.0/24"], "sources": ["2001:db8::/32", "10.0.0.0/8"]})),
        second(&json!({"sources": ["2001:db8::/32"]})),
        json!({"vrf": "BLUE", "required": false}),
        json!({"managedBy": "whoever"}),
    ] {
        let mut call = sandbox.call(&plugin, "STATUS", "1.1.0");
        call.config.extend(own.as_object().unwrap().clone());
        call.must();
    }
}

#[test]
fn keys_of_the_specification_and_of_runtimes_are_nobodys_mistake() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let mut call = sandbox.call(&plugin, "ADD", "1.1.0");
    for key in ["ipam", "dns", "args", "runtimeConfig", "capabilities"] {
        call = call.set(key, json!({"anything": true}));
    }
    call = call.set("cni.dev/attachments", json!([]));
    call.set("cni.dev/from-the-future", json!(1)).must();
}

#[test]
fn a_configuration_that_brings_no_pod_up_still_takes_one_down() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    for own in [second(&json!({"port": 70000})), json!({"servics": []})] {
        for verb in ["DEL", "GC"] {
            let mut call = sandbox
                .call(&plugin, verb, "1.1.0")
                .set("cni.dev/valid-attachments", json!([]));
            call.config.extend(own.as_object().unwrap().clone());
            call.must();
        }
    }
}

/// Otherwise, anyone who may write a network configuration could make root write anywhere.
#[test]
fn a_network_configuration_cannot_say_where_things_are() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let victim = sandbox.path("victim");
    for key in ["agentSocket", "bpffs", "logFile", "logLevel", "runDir"] {
        for verb in ["ADD", "CHECK", "STATUS"] {
            let call = sandbox.call(&plugin, verb, "1.1.0");
            let reply = call.set(key, json!(victim)).run();
            assert_eq!(reply.code(), Some(7), "{verb} {key}: {reply:?}");
            let why = format!("{key}: is set in /etc/vrfgate/cni.conf on the node");
            assert!(reply.details().starts_with(&why), "{reply:?}");
        }
        // A pod with an older configuration must be able to end.
        for verb in ["DEL", "GC"] {
            let call = sandbox.call(&plugin, verb, "1.1.0").set(key, json!(victim));
            call.set("cni.dev/valid-attachments", json!([])).must();
        }
        assert!(!victim.exists(), "{key}");
    }
}

#[test]
fn where_things_are_is_taken_only_from_a_file_that_nobody_but_root_can_write_to() {
    let sandbox = Sandbox::new();
    let status = sandbox.call(&Sandbox::plugin(), "STATUS", "1.1.0");
    status.must();
    let file = sandbox.path("cni.conf");
    let refused = |why: &str| {
        let reply = status.run();
        assert_eq!(reply.code(), Some(7), "{reply:?}");
        let details = reply.details();
        assert!(
            details.starts_with(&format!("VRFGATE_CNI_CONFIG: {}: ", file.display()))
                && details.contains(why),
            "{details}"
        );
    };
    let mode = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    for writable in [0o666, 0o620] {
        mode(writable);
        refused("only root");
    }
    mode(0o644);
    let nobody = Some(65534);
    chown(&file, nobody, nobody).unwrap();
    refused("only root");
    fs::remove_file(&file).unwrap();
    refused("No such file");
    symlink("/dev/null", &file).unwrap();
    refused("symbolic link");
    fs::remove_file(&file).unwrap();
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    refused("not a regular file");
    fs::remove_file(&file).unwrap();
    fs::write(&file, r#"{"runDir": 5}"#).unwrap();
    refused("runDir: invalid type: integer `5`, expected path string");
    fs::write(&file, r#"{"runDir": "run"}"#).unwrap();
    refused("runDir: run is not an absolute path");
    sandbox.places(&json!({}));
    status.must();
}

#[test]
fn a_log_that_cannot_be_opened_is_reported_before_anything_is_done() {
    let sandbox = Sandbox::new();
    let add = sandbox.call(&Sandbox::plugin(), "ADD", "1.0.0");
    let victim = sandbox.path("victim");
    fs::write(&victim, "theirs").unwrap();
    let link = sandbox.path("link");
    symlink(&victim, &link).unwrap();
    let fifo = sandbox.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    for log in [Path::new("/nowhere/at/all/log"), &link, &fifo] {
        sandbox.places(&json!({"logFile": log}));
        let reply = add.run();
        assert_eq!(reply.code(), Some(5), "{reply:?}");
        let why = format!("logFile: opening {}", log.display());
        assert!(reply.details().starts_with(&why), "{reply:?}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
}

#[test]
fn more_than_any_configuration_is_refused() {
    let sandbox = Sandbox::new();
    let call = sandbox.call(&Sandbox::plugin(), "ADD", "1.0.0");
    let reply = call.clone().saying(&" ".repeat(17 * 1024 * 1024)).run();
    assert_eq!(reply.code(), Some(6), "{reply:?}");
    let deep = "[".repeat(100_000);
    let reply = call.saying(&deep).run();
    assert_eq!(reply.code(), Some(6), "{reply:?}");
}
