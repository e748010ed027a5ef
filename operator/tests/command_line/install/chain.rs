//! Our entry in a network's list.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
};

use super::{KINDNET, Node, OURS};

#[test]
fn an_entry_comes_and_goes_and_no_other_byte_changes() {
    let unicode =
        r#"{"name":"net","cniVersion":"1.1.0","note":"ü \" ] } \u20ac","plugins":[{"type":"a"}]}"#;
    let nested = r#"{"name":"net","cniVersion":"1.0.0","args":{"plugins":[{"type":"vrfgate"}]},
        "plugins":[{"type":"a","delegate":{"plugins":[{"type":"b"}]}},{"type":"c","x":[[],{}]}],"z":1e400}"#;
    let indented = KINDNET.replace("kindnet", "net");
    let odd = "\n\t {\t\"plugins\" :[ {\"type\":\"a\"}\n\n, {\"type\" : \"b\"}\t\t] , \"name\":\"net\",\
        \"cniVersion\" : \"0.3.1\" } \n\n";
    let lists = [
        unicode.to_owned(),
        nested.to_owned(),
        indented.clone(),
        indented.trim_end().to_owned(),
        indented.replace('\n', "\r\n"),
        indented.replace("0.4.0", "1.0.0"),
        indented.replace("0.4.0", "1.1.0"),
        odd.to_owned(),
    ];
    for list in lists {
        let node = Node::new();
        node.write("10-net.conflist", &list);
        let path = node.path("net.d/10-net.conflist");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        chown(&path, Some(1234), Some(4321)).unwrap();
        for _ in 0..2 {
            node.must("install-cni", &["--chain", "net"]);
            let now = node.read("10-net.conflist");
            let at = now.find(OURS).unwrap();
            let (before, after) = (&now[..at], &now[at + OURS.len()..]);
            let space = before.trim_end_matches([' ', '\t', '\r', '\n']);
            assert_eq!([space.strip_suffix(',').unwrap(), after].concat(), list);
            // As libcni reads it.
            let read: serde_json::Value = serde_json::from_str(&now.replace("1e400", "1")).unwrap();
            let plugins = read["plugins"].as_array().unwrap();
            assert_eq!(plugins.last().unwrap()["type"], "vrfgate");
        }
        let is = fs::metadata(&path).unwrap();
        assert_eq!(
            (is.mode() & 0o7777, is.uid(), is.gid()),
            (0o640, 1234, 4321)
        );
        for _ in 0..2 {
            node.must("uninstall-cni", &["--chain", "net", "--remove-plugin"]);
            assert_eq!(node.read("10-net.conflist"), list);
        }
        assert_eq!(node.everything(), ["10-net.conflist"]);
    }
}

#[test]
fn the_entry_says_what_was_asked_for_and_changes_with_it() {
    let node = Node::new();
    node.write("10-kindnet.conflist", KINDNET);
    let chain = ["--chain", "kindnet", "--chain-config"];
    let install = |config: &str| node.must("install-cni", &[&chain[..], &[config]].concat());
    install(r#"{"vrf": "BLUE"}"#);
    let ours = r#"{"type": "vrfgate", "managedBy": "vrfgate", "vrf": "BLUE"}"#;
    assert!(node.read("10-kindnet.conflist").contains(ours));
    let said = install(r#"{"vrf": "RED"}"#);
    assert!(said.contains("changed our entry in"), "{said}");
    let red = node.read("10-kindnet.conflist");
    assert_eq!(red.replace("RED", "BLUE").matches(ours).count(), 1);
    let said = install(r#"{"vrf": "RED"}"#);
    assert!(said.contains("is in") && said.contains("already"), "{said}");
    node.must("uninstall-cni", &["--chain", "kindnet"]);
    assert_eq!(node.read("10-kindnet.conflist"), KINDNET);
}

#[test]
fn an_entry_written_by_hand_stays_and_so_does_the_plugin_it_asks_for() {
    let node = Node::new();
    let by_hand = KINDNET.replace("portmap", "vrfgate");
    node.write("10-kindnet.conflist", &by_hand);
    let said = node.must("install-cni", &["--chain", "kindnet"]);
    assert!(said.contains("somebody else wrote"), "{said}");
    let said = node.must("uninstall-cni", &[]);
    assert!(
        said.contains("the plugin stays") && said.contains("10-kindnet.conflist"),
        "{said}"
    );
    assert_eq!(node.read("10-kindnet.conflist"), by_hand);
    assert!(node.installed().exists());
}

#[test]
fn a_mistake_in_the_entry_is_told_with_the_path_of_its_field_and_changes_nothing() {
    let node = Node::new();
    node.write("10-kindnet.conflist", KINDNET);
    for (config, mistake) in [
        ("{", "is no JSON: EOF"),
        ("[]", "is no JSON object"),
        (r#"{"servics": []}"#, "servics: there is no such key"),
        (r#"{"type": "vrf"}"#, "type: there is no such key"),
        (r#"{"managedBy": "me"}"#, "managedBy: there is no such key"),
        (
            r#"{"runDir": "/run"}"#,
            "runDir: is set in /etc/vrfgate/cni.conf on the node",
        ),
        (r#"{"required": 5}"#, "required: invalid type: integer"),
        (
            r#"{"services": [{"name": "web", "protocol": "TCP", "port": 70000}]}"#,
            "services[0].port: 70000 is not a port",
        ),
    ] {
        let arguments = ["--chain", "kindnet", "--chain-config", config];
        let said = node.refused("install-cni", &arguments);
        assert!(
            said.contains("--chain-config") && said.contains(mistake),
            "{said}"
        );
    }
    assert_eq!(node.everything(), ["10-kindnet.conflist"]);
    assert_eq!(node.read("10-kindnet.conflist"), KINDNET);
}

#[test]
fn the_list_is_the_one_that_libcni_takes() {
    let node = Node::new();
    let chain = ["--chain", "kindnet"];
    node.write("05-broken.conflist", "{\"name\": \"kindnet\", ");
    node.write("30-other.conflist", &KINDNET.replace("kindnet", "other"));
    let said = node.refused("install-cni", &chain);
    for part in [
        "network kindnet",
        "05-broken.conflist, which is no JSON",
        "other",
    ] {
        assert!(said.contains(part), "{said}");
    }

    let single = r#"{"cniVersion": "1.0.0", "name": "kindnet", "type": "ptp"}"#;
    node.write("00-single.conf", single);
    let said = node.refused("install-cni", &chain);
    assert!(
        said.contains("00-single.conf") && said.contains("make it a *.conflist"),
        "{said}"
    );

    node.write("20-b.conflist", KINDNET);
    node.write("10-a.conflist", KINDNET);
    node.write("01-hidden.conflist~", KINDNET);
    node.must("install-cni", &chain);
    assert!(node.read("10-a.conflist").contains(OURS));
    for other in ["20-b.conflist", "01-hidden.conflist~"] {
        assert_eq!(node.read(other), KINDNET);
    }
}

#[test]
fn a_list_that_is_a_link_stays_one() {
    let node = Node::new();
    fs::create_dir(node.path("elsewhere")).unwrap();
    let target = node.path("elsewhere/list");
    fs::write(&target, KINDNET).unwrap();
    symlink(&target, node.path("net.d/10-kindnet.conflist")).unwrap();
    node.must("install-cni", &["--chain", "kindnet"]);
    assert!(fs::read_to_string(&target).unwrap().contains(OURS));
    node.must("uninstall-cni", &[]);
    assert_eq!(fs::read_to_string(&target).unwrap(), KINDNET);
    assert!(node.path("net.d/10-kindnet.conflist").is_symlink());
}
