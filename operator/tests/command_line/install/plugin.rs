//! The plugin in its directory; and installers that meet each other, or are killed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use vrfgate_cni::UNINSTALLED;
use vrfgate_sandbox::Started;

use super::{KINDNET, Node};
use crate::sandbox::Running;

#[test]
fn the_plugin_is_installed_once_and_gives_way_to_another_version() {
    let node = Node::new();
    let said = node.must("install-cni", &[]);
    assert!(said.contains("bin/vrfgate, version 0.1.0\n"), "{said}");
    let first = fs::metadata(node.installed()).unwrap();
    assert_eq!(first.mode() & 0o7777, 0o755);

    let said = node.must("install-cni", &[]);
    assert!(said.contains("is there already, version 0.1.0"), "{said}");
    let again = fs::metadata(node.installed()).unwrap();
    assert_eq!(
        (first.ino(), first.ctime_nsec()),
        (again.ino(), again.ctime_nsec())
    );

    node.build("0.2.0");
    let said = node.must("install-cni", &[]);
    assert!(said.contains("version 0.2.0 instead of 0.1.0"), "{said}");
    let unreadable = Permissions::from_mode(0o600);
    fs::set_permissions(node.installed(), unreadable).unwrap();
    node.must("install-cni", &[]);
    assert_eq!(
        fs::metadata(node.installed()).unwrap().mode() & 0o777,
        0o755
    );
    assert_eq!(node.everything(), ["vrfgate"], "and nothing else");

    let said = node.must("uninstall-cni", &["--remove-plugin"]);
    assert!(said.starts_with("removed "), "{said}");
    assert!(node.everything().is_empty());
    let said = node.must("uninstall-cni", &[]);
    assert_eq!(said, "nothing of vrfgate's is there\n");
}

#[test]
fn whoever_executes_the_plugin_meanwhile_notices_nothing() {
    let node = Node::new();
    node.must("install-cni", &[]);
    let long = Command::new(node.installed()).arg("60").started().unwrap();
    let mut long = Running(long);
    let over = AtomicBool::new(false);
    let executed = thread::scope(|scope| {
        let runtime = scope.spawn(|| {
            let mut executed = 0;
            while !over.load(Ordering::Relaxed) {
                let status = Command::new(node.installed()).arg("0").status();
                assert!(status.unwrap().success());
                executed += 1;
            }
            executed
        });
        let outputs: Vec<_> = (1..=20)
            .map(|version| {
                node.build(&format!("0.1.{version}"));
                node.command("install-cni", &[]).finished()
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        for output in outputs {
            let said = String::from_utf8(output.unwrap().stdout).unwrap();
            assert!(said.starts_with("installed "), "{said}");
        }
        runtime.join().unwrap()
    });
    assert!(executed > 20, "{executed}");
    assert!(long.0.try_wait().unwrap().is_none(), "it runs on");
}

#[test]
fn a_foreign_file_with_the_name_of_the_plugin_is_refused_and_left_alone() {
    let node = Node::new();
    let path = node.installed();
    for (what, why) in [
        ("script", "is another program"),
        ("directory", "is no regular file"),
        ("link", "is no regular file"),
    ] {
        match what {
            "script" => fs::write(&path, "#!/bin/sh\n"),
            "directory" => fs::create_dir(&path),
            _ => symlink("/bin/true", &path),
        }
        .unwrap();
        let before = fs::symlink_metadata(node.installed()).unwrap();
        let said = node.refused("install-cni", &[]);
        assert!(said.contains("bin/vrfgate") && said.contains(why), "{said}");
        assert!(said.contains("move it away"), "{said}");
        let said = node.must("uninstall-cni", &[]);
        assert!(said.contains("left alone"), "{said}");
        let after = fs::symlink_metadata(node.installed()).unwrap();
        assert_eq!(before.ino(), after.ino());
        if before.is_dir() {
            fs::remove_dir(node.installed()).unwrap();
        } else {
            fs::remove_file(node.installed()).unwrap();
        }
    }
}

#[test]
fn what_is_not_the_plugin_is_not_installed() {
    let node = Node::new();
    // The command itself has the plugin's words in it.
    for other in ["/bin/true", env!("CARGO_BIN_EXE_vrfgate")] {
        fs::copy(other, node.path("vrfgate-cni")).unwrap();
        let said = node.refused("install-cni", &[]);
        assert!(said.contains("is not the plugin"), "{other}: {said}");
    }
    fs::remove_file(node.path("vrfgate-cni")).unwrap();
    let said = node.refused("install-cni", &[]);
    assert!(said.contains("reading the plugin"), "{said}");
    assert!(node.everything().is_empty());
    node.build("0.1.0");
    fs::remove_dir(node.path("bin")).unwrap();
    let said = node.refused("install-cni", &[]);
    assert!(said.contains("bin is no directory; name"), "{said}");
}

#[test]
fn the_plugin_stays_while_pods_need_it_when_they_go() {
    let node = Node::new();
    node.write("10-kindnet.conflist", KINDNET);
    node.must("install-cni", &["--chain", "kindnet"]);
    let attachment = serde_json::json!({
        "network": "kindnet", "containerId": "c", "ifname": "eth0",
        "netns": {"path": "/run/netns/x", "inode": 1, "cookie": 1}, "services": [],
    });
    let attachment: vrfgate_core::Attachment = serde_json::from_value(attachment).unwrap();
    let store = vrfgate_ebpf::Store::new(node.path("bpf"), node.path("run"));
    let attachments = vrfgate_cni::Attachments::of(&store);
    attachments.write(&attachment).unwrap();
    let said = node.must("uninstall-cni", &[]);
    assert!(said.contains("1 interfaces of pods need it"), "{said}");
    assert_eq!(node.read("10-kindnet.conflist"), KINDNET);
    attachments.remove(&attachment.key).unwrap();
    node.must("uninstall-cni", &["--remove-plugin"]);
    assert_eq!(node.everything(), ["10-kindnet.conflist"]);
}

#[test]
fn a_plugin_that_was_uninstalled_stays_for_pods_that_end_until_it_is_installed_again() {
    let node = Node::new();
    node.must("install-cni", &[]);
    let installed = ["vrfgate"];
    let uninstalled = [UNINSTALLED, "vrfgate"];
    for _ in 0..2 {
        let said = node.must("uninstall-cni", &[]);
        assert!(
            said.contains("is out of use") && said.contains("rm "),
            "{said}"
        );
        assert_eq!(node.everything(), uninstalled);
    }
    node.must("install-cni", &[]);
    assert_eq!(node.everything(), installed);
    node.must("uninstall-cni", &[]);
    node.must("uninstall-cni", &["--remove-plugin"]);
    assert!(node.everything().is_empty());
    // The mark alone is of no use.
    fs::write(node.path("bin").join(UNINSTALLED), "").unwrap();
    node.must("uninstall-cni", &[]);
    assert!(node.everything().is_empty());
}

#[test]
fn installers_at_the_same_time_leave_one_plugin_and_one_entry() {
    let node = Node::new();
    for round in 0..5 {
        node.write("10-kindnet.conflist", KINDNET);
        node.build(&format!("0.1.{round}"));
        let installers: Vec<_> = (0..8)
            .map(|number| {
                let config = format!(r#"{{"vrf": "V{}"}}"#, number % 2);
                let arguments = ["--chain", "kindnet", "--chain-config", &config];
                let mut command = node.command("install-cni", &arguments);
                command.stdout(Stdio::null()).started().unwrap()
            })
            .collect();
        for mut installer in installers {
            assert!(installer.wait().unwrap().success());
        }
        let list = node.read("10-kindnet.conflist");
        assert_eq!(list.matches("managedBy").count(), 1, "{list}");
        assert_eq!(node.everything(), ["10-kindnet.conflist", "vrfgate"]);
        node.must("uninstall-cni", &["--remove-plugin"]);
        assert_eq!(node.read("10-kindnet.conflist"), KINDNET);
    }
}

#[test]
fn an_installer_that_is_killed_harms_nothing_and_the_next_cleans_up() {
    let node = Node::new();
    let chain = ["--chain", "kindnet"];
    node.write("10-kindnet.conflist", KINDNET);
    node.must("install-cni", &chain);
    let with = node.read("10-kindnet.conflist");
    for kill in 0..60 {
        node.build(&format!("0.1.{kill}"));
        node.write("10-kindnet.conflist", KINDNET);
        let mut installer = node.command("install-cni", &chain);
        let installer = Running(installer.stdout(Stdio::null()).started().unwrap());
        thread::sleep(Duration::from_micros(200 * kill));
        drop(installer);
        let list = node.read("10-kindnet.conflist");
        assert!(list == KINDNET || list == with, "{list}");
        let works = Command::new(node.installed()).arg("0").status();
        assert!(works.unwrap().success());
    }
    for directory in ["bin", "net.d"] {
        fs::write(node.path(directory).join(".vrfgate.new"), "half").unwrap();
    }
    node.must("install-cni", &chain);
    node.must("install-cni", &chain);
    assert_eq!(node.everything(), ["10-kindnet.conflist", "vrfgate"]);
    assert_eq!(node.read("10-kindnet.conflist"), with);
}
