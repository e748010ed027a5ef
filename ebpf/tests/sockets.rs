//! What `sock_diag` reports of a namespace's sockets.

mod common;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use common::Sandbox;
use socket2::{Domain, Socket, Type};
use vrfgate_core::Protocol;
use vrfgate_ebpf::{OpenSocket, open_sockets};

fn bound(address: &str, kind: Type, options: impl FnOnce(&Socket) -> io::Result<()>) -> Socket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), kind, None).unwrap();
    options(&socket).unwrap();
    socket.bind(&address.into()).unwrap();
    if kind == Type::STREAM {
        socket.listen(1).unwrap();
    }
    socket
}

fn inside<T: Send>(sandbox: &Sandbox, work: impl FnOnce() -> T + Send) -> T {
    sandbox.netns().run(work).unwrap()
}

fn listed(sandbox: &Sandbox, protocol: Protocol, port: u16) -> Vec<OpenSocket> {
    let mut found = open_sockets(&sandbox.netns()).unwrap();
    found.retain(|socket| (socket.protocol, socket.port) == (protocol, port));
    found
}

#[test]
fn a_listener_is_listed_with_its_address_and_no_device() {
    let sandbox = Sandbox::new();
    let listener = inside(&sandbox, || bound("127.0.0.1:22", Type::STREAM, |_| Ok(())));

    let found = listed(&sandbox, Protocol::Tcp, 22);

    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].address.to_string(), "127.0.0.1");
    assert_eq!(found[0].device, None);
    assert_eq!(found[0].peer, None);
    assert!(!found[0].dual_stack);
    assert_eq!(found[0].cookie, listener.cookie().unwrap());
    let inode = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
    assert_eq!(
        inode.to_str().unwrap(),
        format!("socket:[{}]", found[0].inode)
    );
}

#[test]
fn a_connection_is_not_listed() {
    let sandbox = Sandbox::new();
    let _open = inside(&sandbox, || {
        let listener = bound("127.0.0.1:22", Type::STREAM, |_| Ok(()));
        let client = std::net::TcpStream::connect("127.0.0.1:22").unwrap();
        (listener.accept().unwrap(), client)
    });
    assert_eq!(listed(&sandbox, Protocol::Tcp, 22), []);
}

#[test]
fn a_socket_bound_to_a_device_is_listed_with_it() {
    let sandbox = Sandbox::new();
    for (kind, protocol) in [(Type::STREAM, Protocol::Tcp), (Type::DGRAM, Protocol::Udp)] {
        let _socket = inside(&sandbox, || {
            bound("[::]:53", kind, |socket| socket.bind_device(Some(b"lo")))
        });
        let found = listed(&sandbox, protocol, 53);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].device,
            Some(1),
            "lo is the first device of every namespace"
        );
    }
}

#[test]
fn a_wildcard_says_whether_it_takes_ipv4_too() {
    let sandbox = Sandbox::new();
    for (only_v6, kind, protocol) in [
        (false, Type::STREAM, Protocol::Tcp),
        (true, Type::STREAM, Protocol::Tcp),
        (false, Type::DGRAM, Protocol::Udp),
        (true, Type::DGRAM, Protocol::Udp),
    ] {
        let _socket = inside(&sandbox, || {
            bound("[::]:53", kind, |socket| socket.set_only_v6(only_v6))
        });
        let found = listed(&sandbox, protocol, 53);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].dual_stack, !only_v6, "{found:?}");
    }
}

#[test]
fn an_ipv6_socket_on_an_ipv4_mapped_address_counts_as_ipv4() {
    let sandbox = Sandbox::new();
    let _socket = inside(&sandbox, || {
        bound("[::ffff:127.0.0.1]:53", Type::DGRAM, |_| Ok(()))
    });
    let found = listed(&sandbox, Protocol::Udp, 53);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].address.to_string(), "127.0.0.1");
}

#[test]
fn a_connected_udp_socket_is_listed_with_its_peer() {
    let sandbox = Sandbox::new();
    let _socket = inside(&sandbox, || {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        socket.connect("127.0.0.1:5353").unwrap();
        socket
    });
    let found = listed(&sandbox, Protocol::Udp, 53);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].peer, Some("127.0.0.1:5353".parse().unwrap()));
}

#[test]
fn a_thousand_sockets_are_all_listed() {
    let sandbox = Sandbox::new();
    let _sockets: Vec<_> = inside(&sandbox, || {
        (1..=1000)
            .map(|port| bound(&format!("127.0.0.1:{port}"), Type::DGRAM, |_| Ok(())))
            .collect()
    });
    assert_eq!(open_sockets(&sandbox.netns()).unwrap().len(), 1000);
}
