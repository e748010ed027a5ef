//! A host whose sysctls were 1: what the first leak closes is reported beforehand, when it happens, and for as long as the
//! listeners are there.

use vrfgate_e2e::{Lab, Listener, Vrfgate};

use crate::{
    leaks::leak,
    net::{Net, V4, V6},
    suite::{soon, tests},
};

tests! {
    "closings";
    each family:
        listeners_that_the_first_leak_closes_are_told_before_it_and_when_it_comes,
        what_a_changed_file_would_close_and_open_is_told_before,
        a_listener_on_an_address_that_no_route_leads_to_is_closed_to_nobody;
    once:
        listeners_of_both_families_are_told_once_and_many_are_counted,
        udp_listeners_are_told_where_udp_was_open_and_clients_are_not,
        what_an_audited_vrf_could_reach_is_told_when_it_is_enforced,
        a_host_that_was_closed_is_told_nothing;
}

/// What `doctor -f` reports about leaks, for which it doesn't fail.
#[track_caller]
fn foretold(vrfgate: &Vrfgate, leaks: &str) -> String {
    // Nothing follows this file.
    let file = vrfgate.leaks().with_file_name("beforehand.yaml");
    std::fs::write(&file, leaks).unwrap_or_else(|error| panic!("{error}"));
    let output = vrfgate.call(&["doctor", "-f", &file.to_string_lossy()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// Each of these ports is reported, or none.
#[track_caller]
fn names(text: &str, ports: &[u16], told: bool) {
    for port in ports {
        assert_eq!(
            text.contains(&format!("TCP port {port} of ")),
            told,
            "{port}: {text}"
        );
    }
}

/// A leak that opens TCP ports on the main addresses, of both families as wildcards are, and on BLUE's own.
fn open_everywhere(net: &Net, ports: &[u16]) -> String {
    let services: Vec<String> = ports
        .iter()
        .map(|port| {
            format!(
                "{{name: tcp-{port}, protocol: TCP, port: {port}, addresses: [\"{}\", \"{}\", \"{}/{}\"]}}",
                V4.main_alone(),
                V6.main_alone(),
                net.router,
                net.bits()
            )
        })
        .collect();
    leak("BLUE", &format!("services: [{}]", services.join(", ")))
}

/// Lets unbound sockets have an address that a VRF holds, as `IP_FREEBIND` does.
fn bind_anywhere(lab: &Lab) {
    for family in ["ipv4", "ipv6"] {
        lab.set_sysctl(&format!("net.{family}.ip_nonlocal_bind"), "1");
    }
}

fn listeners(lab: &Lab, net: &Net) -> [Listener; 5] {
    bind_anywhere(lab);
    let loopback = if net.main.is_ipv4() {
        "127.0.0.1:25"
    } else {
        "[::1]:25"
    };
    [
        lab.listen("ssh").tcp(net.any(22)),
        lab.listen("web").tcp(net.any(80)),
        lab.listen("api").tcp(net.main(443)),
        lab.listen("own").tcp(net.router(8080)),
        lab.listen("mail").tcp(loopback),
    ]
}

fn listeners_that_the_first_leak_closes_are_told_before_it_and_when_it_comes(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    lab.ip(&net.leak_route(20));
    lab.set_sysctl("net.ipv4.tcp_l3mdev_accept", "1");
    let [ssh, web, api, own, mail] = listeners(&lab, net);
    let _bgp = lab.listen("bgp").bound_to("BLUE").tcp(net.any(179));
    blue.connect(net.main(80)).should_reach("web");
    blue.connect(net.router(8080)).should_reach("own");
    let mut vrfgate = lab.vrfgate();
    let leaks = open_everywhere(net, &[22]);

    let said = foretold(&vrfgate, &leaks);
    assert!(
        said.contains("would close to VRF BLUE, which is open because tcp_l3mdev_accept is 1"),
        "{said}"
    );
    names(&said, &[80, 443, 8080], true);
    names(&said, &[22, 25, 179], false);
    assert!(
        said.contains("no leak names VRF RED: unbound listeners stay open to it"),
        "{said}"
    );
    blue.connect(net.main(80)).should_reach("web");

    vrfgate.start(&leaks);
    let because =
        "closes to VRF BLUE what was open to it, because tcp_l3mdev_accept was 1 before the gate";
    vrfgate.should_say(because);
    let status = vrfgate.status_text();
    for text in [&vrfgate.said(), &status] {
        assert!(text.contains(because), "{text}");
        names(text, &[80, 443, 8080], true);
        names(text, &[22, 25, 179], false);
    }
    blue.connect(net.main(22)).should_reach("ssh");
    blue.connect(net.router(22)).should_reach("ssh");
    for to in [net.main(80), net.main(443), net.router(8080)] {
        blue.connect(to).should_be_refused();
    }
    red.connect(net.main(80)).should_reach("web");
    red.connect(net.main(22)).should_reach("ssh");

    // Listeners that are gone, or listed, are not reported any more.
    drop(api);
    vrfgate.write(&open_everywhere(net, &[22, 80]));
    blue.connect(net.main(80)).should_soon_reach("web");
    soon("status tells of port 8080 alone", || {
        let status = vrfgate.status_text();
        status.contains("TCP port 8080 of ") && !status.contains("TCP port 80 of ")
    });
    names(&vrfgate.status_text(), &[443], false);
    drop((ssh, web, own, mail));
    net.add_main_address(&lab, 77);
    soon("status tells of no port", || {
        !vrfgate.status_text().contains("closes to VRF BLUE")
    });
}

fn what_a_changed_file_would_close_and_open_is_told_before(net: &Net) {
    let (lab, _client) = net.one_vrf();
    let _listeners = listeners(&lab, net);
    let vrfgate = lab.vrfgate();
    let said = foretold(&vrfgate, &open_everywhere(net, &[22, 80]));
    for words in [
        "leak blue would be in force in VRF BLUE",
        "would open to VRF BLUE: 22/TCP on ",
        "would open to VRF BLUE: 80/TCP on ",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("would close"), "{said}");
    vrfgate.apply(&open_everywhere(net, &[22, 80]));

    let waits = open_everywhere(net, &[443])
        .replace("vrf: BLUE", "vrf: GREEN")
        .replace("name: blue}", "name: green}");
    let route = format!(
        "services: [], routes: [{{prefix: \"{}\"}}]",
        net.main_prefix
    );
    let routed = leak("BLUE", &route).replace("name: blue}", "name: routed}");
    let said = foretold(
        &vrfgate,
        &(open_everywhere(net, &[22, 443]) + &waits + &routed),
    );

    assert!(
        said.contains("would open to VRF BLUE: 443/TCP on "),
        "{said}"
    );
    assert!(!said.contains("would open to VRF BLUE: 22/TCP"), "{said}");
    assert!(
        said.contains("would close to VRF BLUE, which a rule in force opens: TCP port 80 of "),
        "{said}"
    );
    names(&said, &[22, 443, 8080, 25], false);
    assert!(
        said.contains("leak green waits for VRF GREEN to be created"),
        "{said}"
    );
    assert!(
        said.contains(&format!(
            "leak routed asks for the route `local {} dev lan table 10`",
            net.main
        )),
        "{said}"
    );
}

fn a_listener_on_an_address_that_no_route_leads_to_is_closed_to_nobody(net: &Net) {
    let lab = Lab::new();
    let _client = lab
        .vrf("BLUE")
        .slave("blue1", &net.router_cidr())
        .client(&net.client_cidr());
    net.isolate(&lab);
    lab.set_sysctl("net.ipv4.tcp_l3mdev_accept", "1");
    let _listeners = [
        lab.listen("api").tcp(net.main(443)),
        lab.listen("web").tcp(net.any(80)),
    ];
    let vrfgate = lab.vrfgate();
    let leaks = leak(
        "BLUE",
        &format!(
            "routes: [{{prefix: \"{}\"}}], services: [{{name: ssh, protocol: TCP, port: 22}}]",
            net.main_prefix
        ),
    );

    let said = foretold(&vrfgate, &leaks);
    names(&said, &[80], true);
    names(&said, &[443], false);
    vrfgate.apply(&leaks);
    let status = vrfgate.status_text();
    names(&status, &[80], true);
    names(&status, &[443], false);
}

fn listeners_of_both_families_are_told_once_and_many_are_counted() {
    let lab = Lab::new();
    let (own, client) = (
        format!("{} {}", V4.router_cidr(), V6.router_cidr()),
        format!("{} {}", V4.client_cidr(), V6.client_cidr()),
    );
    let client = lab.vrf("BLUE").slave("blue1", &own).client(&client);
    lab.accept_l3mdev(true);
    let listeners: Vec<Listener> = (8001..=8012)
        .map(|port| lab.listen("many").tcp(V6.any(port)))
        .collect();
    client.connect(V6.main(8001)).should_reach("many");
    let vrfgate = lab.vrfgate();
    let leaks = open_everywhere(&V4, &[22]);

    let said = foretold(&vrfgate, &leaks);
    assert_eq!(
        said.matches("would close to VRF BLUE").count(),
        12,
        "{said}"
    );
    vrfgate.apply(&leaks);
    let status = vrfgate.status_text();
    assert_eq!(status.matches("TCP port 80").count(), 10, "{status}");
    assert!(status.contains("and 2 more"), "{status}");
    drop(listeners);
}

fn udp_listeners_are_told_where_udp_was_open_and_clients_are_not() {
    for open in ["0", "1"] {
        let (lab, client) = V4.one_vrf();
        lab.set_sysctl("net.ipv4.udp_l3mdev_accept", open);
        bind_anywhere(&lab);
        let _listeners = [
            lab.listen("dns").udp(V4.router(53)),
            lab.listen("ntp").udp(V4.any(123)),
            lab.listen("client").udp(V4.any(45_000)),
        ];
        let _web = lab.listen("web").tcp(V4.any(80));
        let vrfgate = lab.vrfgate();
        let leaks = leak(
            "BLUE",
            "services: [{name: ntp, protocol: UDP, port: 123, addresses: [192.0.2.1/32, 10.0.0.1/32]}]",
        );
        let said = foretold(&vrfgate, &leaks);
        assert_eq!(said.contains("UDP port 53 of "), open == "1", "{said}");
        vrfgate.apply(&leaks);
        let status = vrfgate.status_text();
        assert_eq!(
            status.contains("because udp_l3mdev_accept was 1 before the gate"),
            open == "1",
            "{status}"
        );
        assert_eq!(status.contains("UDP port 53 of "), open == "1", "{status}");
        for text in [said, status] {
            assert!(
                !text.contains("port 123 of ") && !text.contains("port 45000 of "),
                "{text}"
            );
            names(&text, &[80], false);
        }
        client.ask(V4.router(53)).should_be_refused();
    }
}

fn what_an_audited_vrf_could_reach_is_told_when_it_is_enforced() {
    let (lab, client) = V4.one_vrf();
    let _listeners = listeners(&lab, &V4);
    let mut vrfgate = lab.vrfgate();
    let enforced = open_everywhere(&V4, &[22]);
    let audited = enforced.replace("vrf: BLUE", "vrf: BLUE, mode: Audit");
    vrfgate.start(&audited);
    client.connect(V4.main(80)).should_soon_reach("web");
    assert!(!vrfgate.status_text().contains("closes to VRF"));

    let said = foretold(&vrfgate, &enforced);
    assert!(
        said.contains(
            "would close to VRF BLUE, which is open because it is audited: TCP port 80 of "
        ),
        "{said}"
    );
    client.connect(V4.main(80)).should_reach("web");

    vrfgate.write(&enforced);
    client.connect(V4.main(80)).should_soon_be_refused();
    let because = "closes to VRF BLUE what was open to it, because the VRF was audited";
    vrfgate.should_say(because);
    soon("status tells of it", || {
        vrfgate.status_text().contains(because)
    });
    let status = vrfgate.status_text();
    names(&status, &[80, 443, 8080], true);
    names(&status, &[22, 25], false);

    // Also over a restart of the process that keeps the gate.
    vrfgate.kill();
    vrfgate.apply(&audited);
    vrfgate.apply(&enforced);
    assert!(
        vrfgate.status_text().contains(because),
        "{}",
        vrfgate.status_text()
    );
}

fn a_host_that_was_closed_is_told_nothing() {
    let (lab, _client) = V4.one_vrf();
    let _listeners = listeners(&lab, &V4);
    let vrfgate = lab.vrfgate();
    let leaks = open_everywhere(&V4, &[22]);
    let said = foretold(&vrfgate, &leaks);
    assert!(!said.contains("would close"), "{said}");
    vrfgate.apply(&leaks);
    assert!(
        !vrfgate.status_text().contains("closes to VRF"),
        "{}",
        vrfgate.status_text()
    );
}
