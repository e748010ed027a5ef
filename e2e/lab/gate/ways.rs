//! Packets that take another way into the VRF, or to the socket look-up, than most: through devices of every kind,
//! tunnels, NAT, transparent proxies, IPVS and `IPsec`. What isn't listed is closed to each, as on a stock kernel.

use std::{net::SocketAddr, process::Command};

use vrfgate_e2e::{Attempt, Host, Lab, Listener, Vrfgate};

use crate::{
    leaks::leak,
    net::{Net, V4, proxy_what_comes_in_by},
    suite::tests,
};

tests! {
    "gate";
    each family:
        slaves_of_every_kind_are_gated_to_clients_on_both_sides;
    once:
        what_a_tunnel_brings_is_of_the_domain_that_the_tunnel_is_in,
        a_tunnel_whose_own_packets_come_through_a_vrf_brings_what_it_did_before,
        a_redirected_port_is_open_where_the_port_it_becomes_is_listed,
        a_port_of_ipvs_is_open_where_the_port_of_its_real_server_is_listed,
        a_transparent_proxy_of_a_vrf_is_reached_where_its_own_address_and_port_are_listed,
        what_ipsec_has_protected_is_decided_as_anything_else;
}

/// A port that the leak opens, and one that it doesn't.
const LISTED: u16 = 22;
const UNLISTED: u16 = 80;

/// A leak of BLUE that opens one port of an address, TCP and UDP, so that both sysctls are 1.
fn open(address: &str) -> String {
    let services = ["TCP", "UDP"].map(|protocol| {
        format!(
            "{{name: {}, protocol: {protocol}, port: {LISTED}, addresses: [\"{address}\"]}}",
            protocol.to_lowercase()
        )
    });
    leak("BLUE", &format!("services: [{}]", services.join(", ")))
}

/// Unbound servers on both ports, a server on the VRF, and one on a device if there is one.
fn servers(lab: &Lab, device: Option<&str>) -> Vec<Listener> {
    let mut servers: Vec<Listener> = [LISTED, UNLISTED]
        .map(|port| lab.listen("unbound").tcp(("::", port)))
        .into();
    servers.push(lab.listen("on BLUE").bound_to("BLUE").tcp("[::]:179"));
    if let Some(device) = device {
        servers.push(lab.listen(device).bound_to(device).tcp("[::]:180"));
    }
    servers
}

/// What a client inside the VRF meets at an address of its own side.
fn should_be_gated<'a>(connect: impl Fn(u16) -> Attempt<'a>) {
    connect(LISTED).should_soon_reach("unbound");
    connect(UNLISTED).should_be_refused();
    connect(179).should_reach("on BLUE");
}

/// A router with VRF BLUE, and a machine beside it: `p1` there leads to `eth0` here.
fn beside(modules: &[&str]) -> (Lab, Host) {
    // Not every kernel loads a module for a process in a namespace of its own.
    let _ = Command::new("modprobe").arg("-a").args(modules).status();
    let lab = Lab::new();
    let _blue = lab.vrf("BLUE");
    let peer = lab.pod("peer");
    lab.ip(&format!(
        "link add p1 type veth peer name eth0 netns {}",
        peer.netns().name()
    ));
    peer.ip("link set lo up\nlink set eth0 up");
    (lab, peer)
}

fn add_address(host: &Host, cidr: &str, device: &str) {
    let flags = if cidr.contains(':') { "nodad" } else { "" };
    host.ip(&format!("address add {cidr} dev {device} {flags}"));
}

fn slaves_of_every_kind_are_gated_to_clients_on_both_sides(net: &Net) {
    for (kind, commands, client_device) in [
        (
            "bridge",
            "link add s type bridge\nlink set p1 master s\nlink set p1 up",
            "eth0",
        ),
        (
            "vlan",
            "link set p1 up\nlink add s link p1 type vlan id 5",
            "eth0.5",
        ),
        (
            "macvlan",
            "link set p1 up\nlink add s link p1 type macvlan mode bridge",
            "eth0",
        ),
        (
            "bond",
            "link add s type bond mode active-backup\nlink set p1 master s\nlink set p1 up",
            "eth0",
        ),
    ] {
        let (lab, client) = beside(&["bridge", "8021q", "macvlan", "bonding"]);
        lab.ip(&format!(
            "{commands}\nlink set s master BLUE\nlink set s up"
        ));
        if client_device != "eth0" {
            client.ip(&format!(
                "link add link eth0 name {client_device} type vlan id 5\nlink set {client_device} up"
            ));
        }
        add_address(&lab, &net.router_cidr(), "s");
        add_address(&client, &net.client_cidr(), client_device);
        let _servers = servers(&lab, Some("s"));
        let vrfgate = lab.vrfgate();
        vrfgate.apply(&open(net.clients));
        println!("{kind}: from outside");
        should_be_gated(|port| client.connect(net.router(port)));
        client.connect(net.router(180)).should_reach("s");
        for device in ["BLUE", "s"] {
            println!("{kind}: from {device}");
            should_be_gated(|port| lab.connect(net.router(port)).bound_to(device));
            lab.connect(net.router(180))
                .bound_to(device)
                .should_reach("s");
        }
    }
}

/// Tunnels between 203.0.113.1 here and 203.0.113.2 there.
const TUNNELS: [(&str, &str); 3] = [
    (
        "gre",
        "type gre local 203.0.113.1 remote 203.0.113.2 ttl 64",
    ),
    (
        "ipip",
        "type ipip local 203.0.113.1 remote 203.0.113.2 ttl 64",
    ),
    (
        "vxlan",
        "type vxlan id 5 local 203.0.113.1 remote 203.0.113.2 dstport 4789",
    ),
];

/// A router and a machine beside it, with a tunnel `t1` between them: 10.5.0.1 here, 10.5.0.2 there.
fn tunnelled(what: &str, through_vrf: bool) -> (Lab, Host) {
    let (lab, peer) = beside(&["ip_gre", "ipip", "vxlan"]);
    let (master, device) = if through_vrf {
        ("link set p1 master BLUE\n", "dev p1")
    } else {
        ("", "")
    };
    lab.ip(&format!("{master}link set p1 up"));
    add_address(&lab, "203.0.113.1/24", "p1");
    add_address(&peer, "203.0.113.2/24", "eth0");
    lab.ip(&format!("link add t1 {what} {device}\nlink set t1 up"));
    let there = what
        .replace("local 203.0.113.1", "local 203.0.113.2")
        .replace("remote 203.0.113.2", "remote 203.0.113.1");
    peer.ip(&format!("link add t1 {there}\nlink set t1 up"));
    add_address(&peer, "10.5.0.2/24", "t1");
    (lab, peer)
}

fn what_a_tunnel_brings_is_of_the_domain_that_the_tunnel_is_in() {
    for (kind, what) in TUNNELS {
        let (lab, peer) = tunnelled(what, false);
        lab.ip("link set t1 master BLUE");
        add_address(&lab, "10.5.0.1/24", "t1");
        let _servers = servers(&lab, Some("t1"));
        let vrfgate = lab.vrfgate();
        vrfgate.apply(&open("10.5.0.0/24"));
        println!("{kind} in BLUE");
        let inner = |port| SocketAddr::from(([10, 5, 0, 1], port));
        should_be_gated(|port| peer.connect(inner(port)));
        peer.connect(inner(180)).should_reach("t1");
        should_be_gated(|port| lab.connect(inner(port)).bound_to("t1"));
        // The way there is the main domain's.
        peer.connect(("203.0.113.1", UNLISTED))
            .should_reach("unbound");
    }
}

/// The kernel's own UDP socket of a VXLAN device is one that is bound to the VRF.
fn a_tunnel_whose_own_packets_come_through_a_vrf_brings_what_it_did_before() {
    for (kind, what) in TUNNELS {
        let (lab, peer) = tunnelled(what, true);
        add_address(&lab, "10.5.0.1/24", "t1");
        let _servers = servers(&lab, None);
        let inner = |port| SocketAddr::from(([10, 5, 0, 1], port));
        println!("{kind} through BLUE, without a gate");
        peer.connect(inner(UNLISTED)).should_soon_reach("unbound");
        let vrfgate = lab.vrfgate();
        vrfgate.apply(&open("203.0.113.0/24"));
        println!("{kind} through BLUE");
        for port in [LISTED, UNLISTED] {
            peer.connect(inner(port)).should_reach("unbound");
        }
        should_be_gated(|port| peer.connect(("203.0.113.1", port)));
    }
}

fn a_redirected_port_is_open_where_the_port_it_becomes_is_listed() {
    let (lab, client) = V4.one_vrf();
    let _servers = servers(&lab, None);
    lab.nft(&format!(
        "table ip theirs {{
            chain in {{
                type nat hook prerouting priority dstnat;
                tcp dport 8022 redirect to :{LISTED}
                tcp dport 8080 redirect to :{UNLISTED}
            }}
            chain out {{
                type nat hook output priority -100;
                tcp dport 8022 redirect to :{LISTED}
                tcp dport 8080 redirect to :{UNLISTED}
            }}
        }}"
    ));
    let local = |port| lab.connect(V4.router(port)).bound_to("BLUE");
    let stock = [8022, 8080].map(|port| local(port).outcome_within(SILENCE));
    let vrfgate = lab.vrfgate();
    // A redirected packet is for the first address of the device that it came in by.
    vrfgate.apply(&open(V4.clients));
    client.connect(V4.main(8022)).should_reach("unbound");
    client.connect(V4.router(8022)).should_reach("unbound");
    client.connect(V4.main(8080)).should_be_refused();
    client.connect(V4.router(8080)).should_be_refused();
    // One of the host itself becomes one for 127.0.0.1, which is none of the VRF's.
    let gated = [8022, 8080].map(|port| local(port).outcome_within(SILENCE));
    assert_eq!(gated, stock);
}

/// What nobody here has, and a transparent proxy answers for.
const FAR: &str = "198.51.100.9:8080";

/// How long an answer may take that may never come.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(3);

fn a_port_of_ipvs_is_open_where_the_port_of_its_real_server_is_listed() {
    let (lab, client) = V4.one_vrf();
    let _servers = servers(&lab, None);
    let _ = Command::new("modprobe")
        .args(["-a", "ip_vs", "ip_vs_rr"])
        .status();
    for (port, real) in [(8022, LISTED), (8080, UNLISTED)] {
        for arguments in [
            format!("-A -t {} -s rr", V4.main(port)),
            format!("-a -t {} -r {} -m", V4.main(port), V4.main(real)),
        ] {
            let mut ipvsadm = Command::new("ipvsadm");
            let _ = lab.output(ipvsadm.args(arguments.split(' ')));
        }
    }
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open(&V4.main_alone()));
    client.connect(V4.main(8022)).should_reach("unbound");
    client.connect(V4.main(8080)).should_be_refused();
    lab.connect(V4.main(8080)).should_reach("unbound");
}

/// The gate is asked when the packet comes in, for the proxy's own address and port: see
/// `kernel::a_transparent_proxy_is_reached_from_a_vrf`.
fn a_transparent_proxy_of_a_vrf_is_reached_where_its_own_address_and_port_are_listed() {
    let (lab, client) = V4.one_vrf();
    proxy_what_comes_in_by(&lab, "BLUE");
    let proxy = |name| lab.listen(name).transparent();
    let unbound = proxy("proxy").tcp(("127.0.0.1", 3128));
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&open(V4.clients));
    // No socket has taken it, so it is forwarded, and there is no route.
    client.connect(FAR).should_be_unreachable();
    vrfgate.apply(&leak(
        "BLUE",
        "services: [{name: proxy, protocol: TCP, port: 3128, addresses: [127.0.0.1/32]}]",
    ));
    client.connect(FAR).should_reach("proxy");

    drop(unbound);
    vrfgate.apply(&open(V4.clients));
    let _bound = proxy("on BLUE").bound_to("BLUE").tcp(("127.0.0.1", 3128));
    client.connect(FAR).should_reach("on BLUE");
}

fn what_ipsec_has_protected_is_decided_as_anything_else() {
    let (lab, client) = V4.one_vrf();
    let _ = Command::new("modprobe")
        .args(["-a", "esp4", "xfrm_user"])
        .status();
    let _servers = servers(&lab, None);
    let ends = [
        (&*lab, V4.router, V4.client),
        (&client, V4.client, V4.router),
    ];
    for (host, own, other) in ends {
        for (from, to, direction) in [(own, other, "out"), (other, own, "in")] {
            host.ip(&format!(
                "xfrm state add src {from} dst {to} proto esp spi 0x100 mode transport \
                 auth hmac(sha1) 0x0123456789012345678901234567890123456789 \
                 enc cbc(aes) 0x01234567890123456789012345678901\n\
                 xfrm policy add src {from} dst {to} dir {direction} \
                 tmpl src {from} dst {to} proto esp mode transport"
            ));
        }
    }
    println!("without a gate");
    client.connect(V4.router(179)).should_reach("on BLUE");
    client.connect(V4.router(UNLISTED)).should_be_refused();
    let vrfgate: Vrfgate = lab.vrfgate();
    vrfgate.apply(&open(V4.clients));
    should_be_gated(|port| client.connect(V4.router(port)));
    let protected = lab.ip_shows("-s xfrm state");
    assert!(!protected.contains("0(bytes), 0(packets)"), "{protected}");
}
