//! The plugin as container runtimes see it: a process with an environment, a stdin and a stdout.

mod common;

use cni_plugin::{
    config::NetworkConfig,
    reply::{ErrorReply, SuccessReply, VersionReply},
};
use common::{
    Sandbox, VERSIONS,
    table::{Case, TABLE, play},
};
use serde_json::{Value, json};

#[test]
fn every_verb_in_every_version_answers_as_the_table_says() {
    play(
        |_| Sandbox::plugin(),
        common::table::Row::ours,
        |row, version, call, reply| {
            let what = format!("{} {:?} in {version}: {reply:?}", row.verb, row.case);
            assert!(
                reply.stderr.is_empty() || row.case == Case::NoCommand,
                "{what}"
            );
            match (row.verb, reply.code()) {
                (_, Some(_)) => {
                    let error: Value = serde_json::from_str(&reply.stdout).unwrap();
                    let stated = match row.case {
                        Case::BadJson | Case::EmptyStdin => "1.1.0",
                        _ => version,
                    };
                    assert_eq!(error["cniVersion"], stated, "{what}");
                    for text in ["msg", "details"] {
                        assert!(!error[text].as_str().unwrap().is_empty(), "{what}");
                    }
                }
                ("ADD", None) => assert_eq!(
                    reply.stdout.trim_end(),
                    call.config["prevResult"].to_string(),
                    "{what}"
                ),
                ("VERSION", None) => {
                    let answer: Value = serde_json::from_str(&reply.stdout).unwrap();
                    assert_eq!(answer["supportedVersions"], json!(VERSIONS), "{what}");
                }
                _ => assert_eq!(reply.stdout, "", "{what}"),
            }
        },
    );
}

/// The crate `cni-plugin` reads errors, results and versions as the plugin means them.
#[test]
fn an_independent_reader_reads_what_is_meant() {
    play(
        |_| Sandbox::plugin(),
        common::table::Row::ours,
        |row, version, _, reply| {
            let what = format!("{} {:?} in {version}: {reply:?}", row.verb, row.case);
            let said = &reply.stdout;
            if let Some(code) = reply.code() {
                let read: ErrorReply = serde_json::from_str(said).expect(&what);
                assert_eq!(i64::from(read.code), code.cast_signed(), "{what}");
                assert_eq!(read.details, reply.details(), "{what}");
                assert!(!read.msg.is_empty(), "{what}");
            } else if row.verb == "VERSION" {
                let read: VersionReply = serde_json::from_str(said).expect(&what);
                let versions = read.supported_versions.iter().map(ToString::to_string);
                assert_eq!(versions.collect::<Vec<_>>(), VERSIONS, "{what}");
            }
        },
    );
    for version in VERSIONS {
        let sandbox = Sandbox::new();
        // It requires fields that Go leaves out if they are empty.
        let result = json!({
            "cniVersion": version,
            "interfaces": [
                {"name": "br-blue", "mac": "00:11:22:33:44:55", "sandbox": ""},
                {"name": "net1", "mac": "99:88:77:66:55:44", "sandbox": sandbox.netns_path()},
            ],
            "ips": [{"interface": 1, "address": "10.1.0.5/16", "gateway": "10.1.0.1"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
            "dns": {"nameservers": ["10.1.0.1"], "search": ["blue.example"]},
        });
        let call = sandbox.call(&Sandbox::plugin(), "ADD", version);
        let config = Value::Object(call.clone().set("prevResult", result.clone()).config);
        let config: NetworkConfig = serde_json::from_value(config).unwrap();
        assert_eq!(config.cni_version.to_string(), version);

        let reply = call.set("prevResult", result).must();
        let read: SuccessReply = serde_json::from_str(&reply.stdout).unwrap();
        assert_eq!(read.cni_version.to_string(), version);
        let names: Vec<_> = read
            .interfaces
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["br-blue", "net1"]);
        assert_eq!(read.interfaces[1].sandbox, sandbox.netns_path());
        assert_eq!(read.ips[0].address.to_string(), "10.1.0.5/16");
        assert_eq!(read.ips[0].interface, Some(1));
        assert_eq!(read.routes[0].dst.to_string(), "0.0.0.0/0");
        assert_eq!(read.dns.search, ["blue.example"]);
        assert!(read.specific.is_empty(), "{read:?}");
        let handed_on = config.prev_result.unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), handed_on);
    }
}

#[test]
fn the_table_has_every_case_of_every_verb_once() {
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] {
        let mut cases: Vec<_> = TABLE
            .iter()
            .filter(|row| row.verb == verb)
            .map(|row| format!("{:?}", row.case))
            .collect();
        cases.sort();
        cases.dedup();
        assert_eq!(cases.len(), 13, "{verb}");
    }
    assert_eq!(TABLE.len(), 6 * 13);
}

#[test]
fn what_the_plugins_before_it_have_made_is_handed_on_to_the_byte() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let odd = "{ \"cniVersion\":\"1.1.0\",  \"interfaces\":[{\"name\":\"net1\",\"mtu\":9000,\"socketPath\":\"/run/x\",\
               \"pciID\":\"0000:00:1f.6\",\"later\":{\"z\":1,\"a\":[1e2,18446744073709551616,\"\\u00e4\"]}}],\
               \"unheardOf\":null }";
    let call = sandbox.call(&plugin, "ADD", "1.1.0");
    let whole = serde_json::to_string(&call.clone().unset("prevResult").config).unwrap();
    let stdin = format!(
        "{},\"prevResult\":{odd}}}",
        whole.strip_suffix('}').unwrap()
    );
    let reply = call.saying(&stdin).must();
    assert_eq!(reply.stdout.trim_end(), odd);
}

#[test]
fn the_version_is_said_as_it_was_asked_for() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let call = sandbox.call(&plugin, "VERSION", "1.1.0");
    for (stdin, version) in [
        ("{\"cniVersion\":\"0.4.0\"}", "0.4.0"),
        ("{\"cniVersion\":\"2.0.0\"}", "2.0.0"),
        ("", "1.1.0"),
    ] {
        let reply = call.clone().saying(stdin).must();
        let answer: Value = serde_json::from_str(&reply.stdout).unwrap();
        assert_eq!(answer["cniVersion"], version);
    }
}

#[test]
fn versions_that_it_does_not_speak_are_refused_with_those_that_it_does() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let call = sandbox.call(&plugin, "ADD", "1.1.0");
    for version in [
        json!("0.2.0"),
        json!("0.3.0"),
        json!("1.2.0"),
        json!(""),
        json!(null),
    ] {
        let reply = call.clone().set("cniVersion", version.clone()).run();
        assert_eq!(reply.code(), Some(1), "{version}");
        assert!(reply.details().contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"));
    }
    assert_eq!(call.clone().unset("cniVersion").run().code(), Some(1));
    assert_eq!(call.set("cniVersion", json!(1)).run().code(), Some(6));
}

#[test]
fn a_variable_that_can_not_be_used_is_named() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let call = sandbox.call(&plugin, "ADD", "1.0.0");
    for (variable, value) in [
        ("CNI_COMMAND", "add"),
        ("CNI_COMMAND", "UPDATE"),
        ("CNI_CONTAINERID", "../../etc"),
        ("CNI_CONTAINERID", "-x"),
        ("CNI_CONTAINERID", "a:b"),
        ("CNI_IFNAME", "sixteen-letters-"),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a b"),
        ("CNI_NETNS", "blue"),
        ("CNI_NETNS", "/etc/passwd"),
        ("CNI_NETNS", "/proc/self/ns/mnt"),
        ("CNI_NETNS", ""),
    ] {
        let reply = call.clone().with(variable, value).run();
        assert_eq!(reply.code(), Some(4), "{variable}={value}: {reply:?}");
        assert!(reply.details().contains(variable), "{reply:?}");
    }
    let capitals = call.with("CNI_CONTAINERID", "Pod_1.A-b");
    capitals.must();
}

#[test]
fn the_nodes_own_namespace_is_never_gated() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let own = sandbox
        .call(&plugin, "ADD", "1.0.0")
        .with("CNI_NETNS", "/proc/self/ns/net")
        .run();
    assert_eq!(own.code(), Some(4));
    assert!(own.details().contains("vrfgate run"), "{own:?}");
}

#[test]
fn a_pod_without_a_vrf_leaves_no_trace() {
    let sandbox = Sandbox::new();
    let plugin = Sandbox::plugin();
    let services = json!([{"name": "http", "protocol": "TCP", "port": 8080}]);
    let add = sandbox
        .call(&plugin, "ADD", "1.1.0")
        .set("services", services)
        .set("required", json!(true));
    add.must();
    assert_eq!(sandbox.left(), Vec::<std::path::PathBuf>::new());
    assert!(sandbox.log().contains("has no VRF"), "{}", sandbox.log());
}

#[test]
fn it_explains_itself_to_someone_who_starts_it_by_hand() {
    let program = env!("CARGO_BIN_EXE_vrfgate-cni");
    let output = std::process::Command::new(program)
        .arg("--version")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

#[test]
fn the_version_that_it_states_is_in_the_executable_and_true() {
    let program = env!("CARGO_BIN_EXE_vrfgate-cni");
    let output = std::process::Command::new(program)
        .arg("--version")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let own = env!("CARGO_PKG_VERSION");
    let versions = VERSIONS.join(", ");
    assert_eq!(said, format!("vrfgate CNI plugin {own} (CNI {versions})\n"));
    let executable = std::fs::read(program).unwrap();
    assert_eq!(vrfgate_cni::version_of(&executable), Some(own));
}

#[test]
fn a_plugin_that_was_uninstalled_lets_pods_go_and_does_nothing_else() {
    let sandbox = Sandbox::new();
    let mut plugin = Sandbox::plugin();
    let directory = sandbox.path("bin");
    std::fs::create_dir(&directory).unwrap();
    let program = directory.join("vrfgate");
    // Copied by another process: a child that another test starts would inherit a descriptor of this process that is open for
    // writing, and the file couldn't be executed meanwhile.
    let mut copy = std::process::Command::new("cp");
    let copied = copy.arg(&plugin.program).arg(&program).status();
    assert!(copied.unwrap().success());
    plugin.program = program;
    for (uninstalled, codes) in [
        (false, [None, None, None, None, None]),
        (true, [Some(103), None, Some(50), None, None]),
    ] {
        if uninstalled {
            std::fs::write(directory.join(vrfgate_cni::UNINSTALLED), "").unwrap();
        }
        for (verb, code) in ["ADD", "CHECK", "STATUS", "DEL", "GC"].iter().zip(codes) {
            let call = sandbox.call(&plugin, verb, "1.1.0");
            let reply = call.set("cni.dev/valid-attachments", json!([])).run();
            assert_eq!(reply.code(), code, "{verb}: {reply:?}");
            if code == Some(103) {
                let mark = directory.join(vrfgate_cni::UNINSTALLED);
                let answer = &reply.stdout;
                assert!(answer.contains(&mark.display().to_string()), "{answer}");
                assert!(answer.contains("vrfgate install-cni"), "{answer}");
            }
        }
    }
    // The node's file of places was removed, too.
    std::fs::remove_file(sandbox.path("cni.conf")).unwrap();
    let del = sandbox.call(&plugin, "DEL", "1.1.0");
    let del = del.with("VRFGATE_CNI_CONFIG", "/nowhere/cni.conf");
    assert_eq!(del.run().code(), None);
}
