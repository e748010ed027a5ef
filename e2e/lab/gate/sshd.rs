//! The example that everything began with: a real sshd on `*:22`.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use vrfgate_e2e::{Host, Lab};

use crate::{leaks::leak, suite::tests};

tests! {
    "gate";
    once:
        a_real_sshd_shows_its_banner_through_the_vrf_and_port_80_beside_it_does_not;
}

fn a_real_sshd_shows_its_banner_through_the_vrf_and_port_80_beside_it_does_not() {
    let lab = Lab::new();
    let client = lab
        .vrf("BLUE")
        .slave("blue1", "10.0.0.1/24 2001:db8:a::1/64")
        .client("10.0.0.2/24 2001:db8:a::2/64");
    let _sshd = Sshd::start(&lab);
    let _web = lab.listen("web").tcp("[::]:80");
    lab.connect("192.0.2.1:22").should_soon_read("SSH-2.0-");
    client.connect("192.0.2.1:22").should_be_refused();

    let vrfgate = lab.vrfgate();
    vrfgate.apply(&leak(
        "BLUE",
        "routes: [{prefix: 192.0.2.0/24, device: lan}, {prefix: \"2001:db8:1::/64\", device: lan}], \
         services: [{name: ssh, protocol: TCP, port: 22}]",
    ));

    for main in ["192.0.2.1", "[2001:db8:1::1]"] {
        client.connect(format!("{main}:22")).should_read("SSH-2.0-");
        client.connect(format!("{main}:80")).should_be_refused();
    }
}

/// Debian's sshd, dual-stack on port 22, with a host key of its own.
struct Sshd {
    child: Child,
    _keys: TempDir,
}

impl Sshd {
    fn start(host: &Host) -> Self {
        // sshd drops its privileges into it, and won't start without.
        let started = fs::create_dir_all("/run/sshd").and_then(|()| {
            let keys = tempfile::tempdir_in("/run")?;
            let key = keys.path().join("host_key");
            make_key(&key)?;
            let child = host.spawn(
                Command::new("/usr/sbin/sshd")
                    .args(["-D", "-e", "-f", "/dev/null", "-p", "22", "-h"])
                    .arg(&key)
                    .args(["-o", "PidFile=none", "-o", "UsePAM=no", "-o", "UseDNS=no"])
                    .stdin(Stdio::null())
                    .stderr(Stdio::null()),
            );
            Ok(Self { child, _keys: keys })
        });
        started.unwrap_or_else(|error| panic!("sshd: {error}"))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_key(path: &Path) -> std::io::Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status()?;
    if made.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("ssh-keygen: {made}")))
    }
}
