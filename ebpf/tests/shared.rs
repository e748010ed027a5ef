//! TCP ports that are shared while `tcp_l3mdev_accept` shall change. This kernel need not have VRFs: a socket whose device
//! is gone counts as one of a VRF, because the device may have been one.

mod common;

use std::net::{SocketAddr, TcpStream};

use common::{Sandbox, vrf};
use socket2::{Domain, Socket, Type};
use vrfgate_core::{Posture, RuleSet};
use vrfgate_ebpf::{
    Capacity, Error, Gate, SharedPort, SharedPorts, Store, kernel_is_concerned, shared_ports,
};
use vrfgate_sandbox::{ReallyClosed, soon};

fn rules() -> RuleSet {
    vrf(0, Posture::Enforced, vec![])
}

fn bound(sandbox: &Sandbox, device: Option<&str>, address: &str, listens: bool) -> Socket {
    let address: SocketAddr = address.parse().unwrap();
    let work = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes())).unwrap();
        }
        socket.bind(&address.into()).unwrap();
        if listens {
            socket.listen(8).unwrap();
        }
        socket
    };
    sandbox.netns().run(work).unwrap()
}

/// Sockets that are bound to a device which is gone.
fn orphans(sandbox: &Sandbox, sockets: &[(&str, bool)]) -> Vec<Socket> {
    sandbox.ip("link add gone type veth peer name peer");
    let made = sockets
        .iter()
        .map(|(address, listens)| bound(sandbox, Some("gone"), address, *listens))
        .collect();
    sandbox.ip("link del gone");
    made
}

/// Closes them also for the children that are being started beside this test.
fn close<T>(sockets: T) {
    drop((sockets, ReallyClosed));
}

/// Closes sockets of a VRF, and waits until they share no port: a child that has just begun its program closes its
/// copies a moment after the process that started it goes on.
fn close_of_vrf(sandbox: &Sandbox, sockets: Vec<Socket>) {
    close(sockets);
    soon("the sockets are closed", || {
        shared_ports(&sandbox.netns()).unwrap().is_empty()
    });
}

#[track_caller]
fn in_the_way<T>(result: Result<T, Error>) -> Vec<SharedPort> {
    match result {
        Err(Error::PortShared { shared, .. }) => shared,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("nothing was in the way"),
    }
}

#[test]
fn attaching_is_refused_while_ports_are_shared_and_changes_nothing() {
    if !kernel_is_concerned() {
        return;
    }
    let sandbox = Sandbox::new();
    let _unbound = [
        bound(&sandbox, None, "0.0.0.0:22", true),
        bound(&sandbox, None, "[::]:80", false),
        bound(&sandbox, None, "[::1]:443", true),
    ];
    let of_vrf = orphans(
        &sandbox,
        &[
            ("127.0.0.1:22", false),
            ("0.0.0.0:80", true),
            ("[::]:443", true),
            ("[::]:444", true),
        ],
    );

    let shared = in_the_way(sandbox.try_attach(&rules()));

    let ports: Vec<u16> = shared.iter().map(|shared| shared.bound.port).collect();
    assert_eq!(ports, [22, 80, 443]);
    assert!(!sandbox.sysctl("tcp"));
    assert!(!sandbox.pins().exists());
    assert!(sandbox.open().unwrap().is_none());
    close_of_vrf(&sandbox, of_vrf);
    sandbox.attach(&rules());
    assert!(sandbox.sysctl("tcp"));
}

#[test]
fn a_connection_that_is_left_of_an_unbound_listener_shares_its_port() {
    if !kernel_is_concerned() {
        return;
    }
    let sandbox = Sandbox::new();
    let listener = bound(&sandbox, None, "127.0.0.1:22", true);
    let client = sandbox
        .netns()
        .run(|| TcpStream::connect("127.0.0.1:22"))
        .unwrap();
    let (accepted, _) = listener.accept().unwrap();
    close(listener);
    let _of_vrf = orphans(&sandbox, &[("127.0.0.1:22", true)]);

    let shared = in_the_way(sandbox.try_attach(&rules()));

    assert_eq!(shared.len(), 1);
    assert!(shared[0].unbound.peer.is_some(), "{shared:?}");
    drop((client, accepted));
}

#[test]
fn it_goes_ahead_where_that_is_accepted_and_back_as_well() {
    let sandbox = Sandbox::new();
    let _unbound = bound(&sandbox, None, "0.0.0.0:22", true);
    let _of_vrf = orphans(&sandbox, &[("0.0.0.0:22", true)]);
    let policy = SharedPorts::Accept;
    let capacity = Capacity::default();
    let mut gate =
        Gate::attach_with(&sandbox.store, sandbox.netns(), &rules(), &capacity, policy).unwrap();
    assert!(sandbox.sysctl("tcp"));
    gate.keep().unwrap();
    let later = gate.later_shared_ports().len();
    assert_eq!(later, usize::from(kernel_is_concerned()));
    // Both were bound under 0: to go back is the end of the danger.
    gate.on_shared_ports(SharedPorts::Refuse);
    gate.may_detach().unwrap();
    gate.detach().unwrap();
    assert!(!sandbox.sysctl("tcp"));
}

#[test]
fn a_gate_stays_while_sockets_that_came_after_it_share_a_port() {
    if !kernel_is_concerned() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&rules());
    let _unbound = bound(&sandbox, None, "0.0.0.0:179", true);
    let of_vrf = orphans(&sandbox, &[("0.0.0.0:179", true)]);
    gate.keep().unwrap();
    assert!(gate.later_shared_ports().is_empty());

    in_the_way(gate.may_detach());
    in_the_way(gate.detach());

    assert!(sandbox.sysctl("tcp"));
    let mut gate = sandbox.open().unwrap().unwrap();
    // Something else throws the switch: those two are used to 1.
    gate.apply(rules()).unwrap();
    sandbox.set_sysctl("tcp", false);
    assert_eq!(gate.keep().unwrap().len(), 1);
    assert!(sandbox.sysctl("tcp"));
    close_of_vrf(&sandbox, of_vrf);
    gate.detach().unwrap();
    assert!(!sandbox.sysctl("tcp"));
}

#[test]
fn a_switch_that_something_else_throws_is_not_thrown_back_for_sockets_from_meanwhile() {
    if !kernel_is_concerned() {
        return;
    }
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&rules());
    sandbox.set_sysctl("tcp", false);
    let _unbound = bound(&sandbox, None, "0.0.0.0:22", true);
    let of_vrf = orphans(&sandbox, &[("0.0.0.0:22", true)]);

    in_the_way(gate.keep());
    in_the_way(gate.apply(rules()));
    in_the_way(gate.keep());
    assert!(!sandbox.sysctl("tcp"));

    close_of_vrf(&sandbox, of_vrf);
    gate.apply(rules()).unwrap();
    assert!(sandbox.sysctl("tcp"));
}

#[test]
fn a_door_that_nobody_guards_is_closed_whatever_is_shared() {
    let sandbox = Sandbox::new();
    let gate = sandbox.attach(&rules());
    let _unbound = bound(&sandbox, None, "0.0.0.0:22", true);
    let _of_vrf = orphans(&sandbox, &[("0.0.0.0:22", true)]);
    drop(gate);
    let elsewhere = Store::new("/sys/fs/bpf/nowhere", sandbox.run_dir());

    Gate::may_clean_up(&elsewhere, &sandbox.netns(), SharedPorts::Refuse).unwrap();
    assert!(Gate::clean_up(&elsewhere, &sandbox.netns(), SharedPorts::Refuse).unwrap());

    assert!(!sandbox.sysctl("tcp"));
}

#[test]
fn that_a_gate_was_prepared_is_remembered_by_who_takes_it_over() {
    let sandbox = Sandbox::new();
    let mut gate = sandbox.attach(&rules());
    assert!(!gate.is_prepared());
    gate.prepare().unwrap();
    drop(gate);
    let mut gate = sandbox.open().unwrap().unwrap();
    assert!(gate.is_prepared());
    gate.renew().unwrap();
    assert!(gate.status().unwrap().prepared);
    gate.detach().unwrap();
    assert!(!sandbox.attach(&rules()).is_prepared());
}
