//! Sockets that are bound to a VRF, or to a slave of one, go on as if there were no gate.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use vrfgate_e2e::{Host, Lab, Vrfgate};

use crate::{
    leaks::{leak, open_tcp, service},
    net::{Net, V4},
    suite::tests,
};

tests! {
    "gate";
    each family:
        a_listener_bound_to_the_vrf_or_its_slave_is_reached_and_an_unbound_one_is_not,
        bound_listeners_that_were_there_before_the_gate_are_reached,
        a_port_is_closed_again_when_its_bound_listener_is_gone,
        a_client_bound_to_the_vrf_gets_its_answers,
        bound_listeners_are_reached_when_no_vrfgate_runs,
        an_unbound_listener_on_the_address_is_not_reached_because_of_a_bound_wildcard,
        a_bound_listener_is_none_to_another_vrf,
        a_socket_that_is_bound_to_the_vrf_after_it_listens_is_soon_reached;
    once:
        a_thousand_bound_listeners_are_each_reached_the_moment_they_listen,
        a_thousand_bound_clients_each_get_their_answer;
}

const MANY: u16 = 1000;
const TIMEOUT: Duration = Duration::from_secs(20);

/// A gate that opens one TCP and one UDP port to BLUE, and nothing of what the tests are about.
fn gated(lab: &Lab, net: &Net) -> Vrfgate {
    let vrfgate = lab.vrfgate();
    vrfgate.apply(&tcp_and_udp(net));
    let status = vrfgate.status();
    assert_eq!(status["gate"]["tracing"], true, "{status:#}");
    vrfgate
}

fn tcp_and_udp(net: &Net) -> String {
    let (ssh, dns) = (service(net, "TCP", 22), service(net, "UDP", 53));
    leak("BLUE", &format!("services: [{ssh}, {dns}]"))
}

fn a_listener_bound_to_the_vrf_or_its_slave_is_reached_and_an_unbound_one_is_not(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _gate = gated(&lab, net);
    for (device, port) in [("BLUE", 179), ("blue1", 180)] {
        let _listeners = [
            lab.listen(device).bound_to(device).tcp(net.any(port)),
            lab.listen(device).bound_to(device).udp(net.router(port)),
        ];
        client.connect(net.router(port)).should_reach(device);
        client.connect(net.main(port)).should_reach(device);
        client.ask(net.router(port)).should_reach(device);
        client.ask(net.main(port)).should_be_refused();
    }
    let _unbound = [
        lab.listen("unbound").tcp(net.any(181)),
        lab.listen("unbound").udp(net.any(181)),
    ];
    client.connect(net.main(181)).should_be_refused();
    client.ask(net.main(181)).should_be_refused();
}

fn bound_listeners_that_were_there_before_the_gate_are_reached(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _bgp = lab.listen("bgp").bound_to("BLUE").tcp(net.any(179));
    let _bfd = lab.listen("bfd").bound_to("blue1").udp(net.router(3784));
    let _gate = gated(&lab, net);
    client.connect(net.router(179)).should_reach("bgp");
    client.ask(net.router(3784)).should_reach("bfd");
}

fn a_port_is_closed_again_when_its_bound_listener_is_gone(net: &Net) {
    let (lab, client) = net.one_vrf();
    let before = lab.listen("bound").bound_to("BLUE").tcp(net.any(179));
    let _gate = gated(&lab, net);
    let after = lab.listen("bound").bound_to("BLUE").tcp(net.any(180));
    let udp = lab.listen("bound").bound_to("BLUE").udp(net.any(180));
    client.connect(net.router(180)).should_reach("bound");

    drop((before, after, udp));

    let _unbound = [
        lab.listen("unbound").tcp(net.any(179)),
        lab.listen("unbound").tcp(net.any(180)),
        lab.listen("unbound").udp(net.any(180)),
    ];
    client.connect(net.router(179)).should_be_refused();
    client.connect(net.router(180)).should_be_refused();
    client.ask(net.router(180)).should_be_refused();
}

fn a_client_bound_to_the_vrf_gets_its_answers(net: &Net) {
    let (lab, client) = net.one_vrf();
    let _server = client.listen("far server").udp(net.any(53));
    let _gate = gated(&lab, net);
    for device in ["BLUE", "blue1"] {
        let answer = inside(&lab, || ask_unconnected(device, net.client(53)));
        assert_eq!(answer.expect("an answer"), "far server");
    }
}

fn bound_listeners_are_reached_when_no_vrfgate_runs(net: &Net) {
    let (lab, client) = net.one_vrf();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    vrfgate.kill();
    let bgp = lab.listen("bgp").bound_to("BLUE").tcp(net.any(179));
    client.connect(net.router(179)).should_reach("bgp");
    drop(bgp);
    let _unbound = lab.listen("unbound").tcp(net.any(179));
    client.connect(net.router(179)).should_be_refused();
}

/// The kernel would give it the packet: see `kernel::an_unbound_listener_on_the_address_wins_…`.
fn an_unbound_listener_on_the_address_is_not_reached_because_of_a_bound_wildcard(net: &Net) {
    let (lab, client) = net.one_vrf();
    // First, because no gate comes while a port is shared (`shared::`).
    let _gate = gated(&lab, net);
    let _bound = lab
        .listen("bound")
        .bound_to("BLUE")
        .sharing_its_port()
        .tcp(net.any(80));
    let _unbound = lab.listen("unbound").sharing_its_port().tcp(net.main(80));
    client.connect(net.main(80)).should_be_refused();
    client.connect(net.router(80)).should_reach("bound");
}

fn a_bound_listener_is_none_to_another_vrf(net: &Net) {
    let (lab, blue) = net.one_vrf();
    let red = lab
        .vrf("RED")
        .slave("red1", &net.router_cidr())
        .client(&net.client_cidr());
    let _gate = gated(&lab, net);
    let _bgp = lab
        .listen("blue bgp")
        .bound_to("BLUE")
        .sharing_its_port()
        .tcp(net.any(179));
    let _unbound = lab.listen("main bgp").sharing_its_port().tcp(net.any(179));
    red.connect(net.router(179)).should_be_refused();
    drop(blue);
}

fn a_socket_that_is_bound_to_the_vrf_after_it_listens_is_soon_reached(net: &Net) {
    let (lab, client) = net.one_vrf();
    let mut vrfgate = lab.vrfgate();
    vrfgate.start(&open_tcp("BLUE", net, &[22]));
    let listener = lab.listen("late").tcp(net.any(179));
    client.connect(net.router(179)).should_be_refused();
    listener.bind_to("BLUE");
    client.connect(net.router(179)).should_soon_reach("late");
}

fn a_thousand_bound_listeners_are_each_reached_the_moment_they_listen() {
    let (lab, client) = V4.one_vrf();
    let _gate = gated(&lab, &V4);
    let connect = |to: SocketAddr| inside(&client, || TcpStream::connect_timeout(&to, TIMEOUT));
    for port in 2000..2000 + MANY {
        let address = V4.any(port);
        let listener = inside(&lab, || -> io::Result<TcpListener> {
            let socket = socket_on(Type::STREAM, "BLUE", address)?;
            socket.listen(1)?;
            Ok(socket.into())
        });
        let _listener = listener.unwrap_or_else(|error| panic!("port {port}: {error}"));
        if let Err(error) = connect(V4.router(port)) {
            panic!("port {port}: {error}");
        }
    }
}

fn a_thousand_bound_clients_each_get_their_answer() {
    let (lab, client) = V4.one_vrf();
    let _server = client.listen("far server").udp(V4.any(53));
    let _gate = gated(&lab, &V4);
    inside(&lab, || {
        for number in 0..MANY {
            let answer = ask_unconnected("BLUE", V4.client(53));
            assert_eq!(
                answer.unwrap_or_else(|error| panic!("client {number}: {error}")),
                "far server"
            );
        }
    });
}

fn inside<T: Send>(host: &Host, work: impl FnOnce() -> T + Send) -> T {
    host.netns().enter(work)
}

fn socket_on(kind: Type, device: &str, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.bind_device(Some(device.as_bytes()))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Asks as resolvers do: from any port, by a socket that isn't connected, so that the answer is looked up.
fn ask_unconnected(device: &str, server: SocketAddr) -> io::Result<String> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, None)?;
    socket.bind_device(Some(device.as_bytes()))?;
    let socket: UdpSocket = socket.into();
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send_to(b"who is there?", server)?;
    let mut answer = [0; 64];
    let (length, _) = socket.recv_from(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
