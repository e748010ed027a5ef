//! The Debian package: its contents and its metadata.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{VERSION, file_in, files_below, output, should_load_nothing};

/// The package, taken apart: its files, and its control files below `DEBIAN`.
struct Package {
    home: TempDir,
}

impl Package {
    #[track_caller]
    fn unpacked() -> Self {
        let home = tempfile::tempdir().unwrap();
        output(
            Command::new("dpkg-deb")
                .arg("--raw-extract")
                .arg(file_in("DEB"))
                .arg(home.path().join("root")),
        );
        Self { home }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join("root").join(path)
    }

    #[track_caller]
    fn control(&self, name: &str) -> String {
        let path = self.path("DEBIAN").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

#[test]
fn the_package_holds_what_a_machine_without_kubernetes_needs() {
    let package = Package::unpacked();
    let files = files_below(&package.path(""));
    for path in [
        "/usr/bin/vrfgate",
        "/usr/lib/cni/vrfgate",
        "/lib/systemd/system/vrfgate.service",
        "/lib/systemd/system/vrfgate-prepare.service",
        "/etc/vrfgate/blue.yaml.example",
        "/usr/share/bash-completion/completions/vrfgate",
        "/usr/share/zsh/vendor-completions/_vrfgate",
        "/usr/share/fish/vendor_completions.d/vrfgate.fish",
        "/usr/share/man/man1/vrfgate.1.gz",
        "/usr/share/man/man1/vrfgate-run.1.gz",
        "/usr/share/man/man1/vrfgate-clear.1.gz",
        "/usr/share/doc/vrfgate/copyright",
        "/usr/share/doc/vrfgate/changelog.gz",
        "/usr/share/doc/vrfgate/third-party.txt.gz",
        // Not compressed: the pages link to each other by name.
        "/usr/share/doc/vrfgate/README.md",
        "/usr/share/doc/vrfgate/docs/reference.md",
    ] {
        assert!(files.contains(path), "no {path} among {files:#?}");
    }
    let elsewhere: Vec<_> = files
        .iter()
        .filter(|path| {
            let places = ["/DEBIAN/", "/etc/vrfgate/", "/usr/", "/lib/systemd/system/"];
            !places.iter().any(|place| path.starts_with(place))
        })
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
    assert_eq!(
        package.control("conffiles"),
        "/etc/vrfgate/blue.yaml.example\n"
    );
    let control = package.control("control");
    assert!(
        control.contains(&format!("Version: {VERSION}\n")),
        "{control}"
    );
    assert!(!control.contains("\nDepends:"), "{control}");
    for program in ["usr/bin/vrfgate", "usr/lib/cni/vrfgate"] {
        should_load_nothing(&package.path(program));
    }
}

#[test]
fn the_example_is_a_leak_once_it_is_called_one() {
    let package = Package::unpacked();
    let example = package.path("etc/vrfgate/blue.yaml.example");
    let text = fs::read_to_string(&example).unwrap();
    let leaks = vrfgate_operator::api::read_leaks("blue.yaml", &text).unwrap();
    assert_eq!(leaks.len(), 1);
}

#[test]
fn the_units_are_ones_that_systemd_takes() {
    let package = Package::unpacked();
    let root = package.path("");
    // Units that every machine has; they are not under test.
    let units = root.join("lib/systemd/system");
    for name in [
        "sysinit.target",
        "shutdown.target",
        "local-fs.target",
        "network-online.target",
        "network-pre.target",
        "basic.target",
    ] {
        fs::write(units.join(name), "[Unit]\n").unwrap();
    }
    let oneshot = "[Service]\nType=oneshot\nExecStart=vrfgate\n";
    fs::write(units.join("systemd-sysctl.service"), oneshot).unwrap();
    let kill = package.path("bin");
    fs::create_dir(&kill)
        .and_then(|()| fs::copy("/bin/kill", kill.join("kill")))
        .unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg("--man=no")
        .arg("--root")
        .arg(&root)
        .args(["vrfgate.service", "vrfgate-prepare.service"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}

#[test]
fn what_prepares_the_gate_comes_before_every_daemon_and_is_not_enabled_by_itself() {
    let package = Package::unpacked();
    let unit = package.path("lib/systemd/system/vrfgate-prepare.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("\nDefaultDependencies=no\n"), "{unit}");
    let before = unit.lines().filter(|line| line.starts_with("Before="));
    let before: Vec<&str> = before.flat_map(|line| line[7..].split(' ')).collect();
    for target in ["network-pre.target", "sysinit.target", "vrfgate.service"] {
        assert!(before.contains(&target), "{target}: {before:?}");
    }
    // An administrator does.
    let script = package.control("postinst");
    assert!(script.contains("vrfgate.service"), "{script}");
    // Only units that were enabled before are enabled again.
    let enable = "deb-systemd-helper enable 'vrfgate-prepare.service'";
    let at = script.find(enable).unwrap_or(script.len());
    let before = &script[..at];
    for guard in ["debian-installed", "was-enabled"] {
        let guard = format!("{guard} 'vrfgate-prepare.service'; then");
        assert!(at == script.len() || before.contains(&guard), "{script}");
    }
}

#[test]
fn the_service_starts_only_where_there_are_leaks() {
    let package = Package::unpacked();
    let unit = fs::read_to_string(package.path("lib/systemd/system/vrfgate.service")).unwrap();
    // Where the unit looks, below a directory of ours.
    let etc = package.path("etc/vrfgate");
    let conditions: Vec<String> = unit
        .lines()
        .filter(|line| line.starts_with("Condition"))
        .map(|line| line.replace("/etc/vrfgate", &etc.to_string_lossy()))
        .collect();
    assert!(!conditions.is_empty());
    let starts = || {
        let mut analyze = Command::new("systemd-analyze");
        let status = analyze.arg("condition").args(&conditions).output().unwrap();
        status.status.success()
    };

    assert!(!starts(), "the example alone starts it");
    for name in ["blue.yaml", "blue.yml", "blue.json"] {
        fs::write(etc.join(name), "").unwrap();
        assert!(starts(), "{name} doesn't start it");
        fs::remove_file(etc.join(name)).unwrap();
    }
}
