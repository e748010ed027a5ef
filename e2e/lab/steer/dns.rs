//! A real DNS server: Debian's unbound, on a wildcard address.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use vrfgate_e2e::{Host, Lab, dns::NAME};

use super::{DNS, both, two_vrfs};
use crate::{leaks::leak, net::Net, suite::tests};

tests! {
    "steer";
    each family:
        a_real_dns_server_answers_two_vrfs_through_return_routes,
        a_real_dns_server_answers_two_vrfs_of_the_same_addresses_by_steering;
}

fn a_real_dns_server_answers_two_vrfs_through_return_routes(net: &Net) {
    let lab = Lab::new();
    let (reds, router, client) = if net.main.is_ipv4() {
        ("10.0.7.0/24", "10.0.7.1/24", "10.0.7.2/24")
    } else {
        ("2001:db8:b::/64", "2001:db8:b::1/64", "2001:db8:b::2/64")
    };
    let blue = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    let red = lab.vrf("RED").slave("red1", router).client(client);
    let _unbound = Unbound::start(&lab);
    lab.resolve(net.main(53)).should_soon_reach("unbound");
    let spec = |vrf: &str, clients: &str| {
        leak(
            vrf,
            &format!(
                "routes: [{{prefix: \"{}\"}}], services: [{DNS}], \
                 returnRoutes: [{{prefix: \"{clients}\", source: \"{}\"}}]",
                net.main_prefix, net.main
            ),
        )
    };
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&(spec("BLUE", net.clients) + &spec("RED", reds)));

    for client in [&blue, &red] {
        client.resolve(net.main(53)).should_reach("unbound");
    }
}

fn a_real_dns_server_answers_two_vrfs_of_the_same_addresses_by_steering(net: &Net) {
    let (lab, blue, red) = two_vrfs(net);
    let _unbound = Unbound::start(&lab);
    lab.resolve(net.main(53)).should_soon_reach("unbound");
    let vrfgate = lab.vrfgate();

    vrfgate.apply(&both(net));

    for client in [&blue, &red] {
        client.resolve(net.main(53)).should_reach("unbound");
    }
}

/// unbound on `*:53`, which knows one name.
struct Unbound {
    child: Child,
    _home: TempDir,
}

impl Unbound {
    fn start(host: &Host) -> Self {
        let configured = tempfile::tempdir_in("/run").and_then(|home| {
            let config = home.path().join("unbound.conf");
            fs::write(&config, config_of(home.path().to_string_lossy().as_ref()))?;
            Ok((home, config))
        });
        let (home, config) = configured.unwrap_or_else(|error| panic!("unbound: {error}"));
        let child = host.spawn(
            Command::new("/usr/sbin/unbound")
                .arg("-d")
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stderr(Stdio::null()),
        );
        Self { child, _home: home }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config_of(home: &str) -> String {
    format!(
        "server:\n\
         \x20 directory: \"{home}\"\n\
         \x20 interface: 0.0.0.0\n\
         \x20 interface: ::0\n\
         \x20 interface-automatic: yes\n\
         \x20 access-control: 0.0.0.0/0 allow\n\
         \x20 access-control: ::/0 allow\n\
         \x20 module-config: \"iterator\"\n\
         \x20 num-threads: 1\n\
         \x20 do-daemonize: no\n\
         \x20 username: \"\"\n\
         \x20 chroot: \"\"\n\
         \x20 pidfile: \"\"\n\
         \x20 use-syslog: no\n\
         \x20 local-zone: \"lab.\" static\n\
         \x20 local-data: '{NAME}. TXT \"unbound\"'\n\
         remote-control:\n\
         \x20 control-enable: no\n"
    )
}
