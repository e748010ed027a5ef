//! What the tracker should hold, compared with what it holds. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use vrfgate_abi::{ListenerKey, ON_DEVICE, ON_SLAVE, SOCKET_DUAL_STACK, TrackedSocket, UNBOUND};

use crate::{NetnsId, OpenSocket, encode::mapped};

/// Sockets by cookie.
pub(super) type Sockets = HashMap<u64, TrackedSocket>;

/// Whether a tracked socket that is not listed is given a second chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grace {
    /// A tracing program counts a socket a moment before it is listed.
    WithTracing,
    /// Nobody but the caller counts anything.
    None,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be counted in.
    pub(super) add: Sockets,
    /// To be counted out.
    pub(super) remove: HashSet<u64>,
    /// To be counted out the next time, if they are not listed then.
    pub(super) suspects: HashSet<u64>,
}

/// The sockets that matter of those that are listed, as the tracer would describe them.
///
/// A connected UDP socket is found before the gate is asked, and receives from its peer only.
pub(super) fn described(
    sockets: &[OpenSocket],
    netns: NetnsId,
    slaves: &BTreeMap<u32, u32>,
) -> Sockets {
    sockets
        .iter()
        .filter(|socket| socket.peer.is_none() && socket.port != 0)
        .map(|socket| (socket.cookie, describe(socket, netns, slaves)))
        .collect()
}

fn describe(socket: &OpenSocket, netns: NetnsId, slaves: &BTreeMap<u32, u32>) -> TrackedSocket {
    let (device, scope) = match socket.device {
        None => (0, UNBOUND),
        Some(device) => match slaves.get(&device) {
            Some(&vrf) => (vrf, ON_SLAVE),
            None => (device, ON_DEVICE),
        },
    };
    TrackedSocket {
        key: ListenerKey {
            netns: netns.0,
            device,
            port: socket.port,
            protocol: socket.protocol.number(),
            scope,
            address: mapped(socket.address),
        },
        flags: if socket.dual_stack {
            SOCKET_DUAL_STACK
        } else {
            0
        },
    }
}

/// What makes `tracked` what is `listed`. `suspects` are those of the plan before.
pub(super) fn plan(
    tracked: &Sockets,
    listed: &Sockets,
    suspects: &HashSet<u64>,
    grace: Grace,
) -> Plan {
    let mut plan = Plan::default();
    for (&cookie, socket) in listed {
        match tracked.get(&cookie) {
            Some(known) if known == socket => {}
            known => {
                plan.add.insert(cookie, *socket);
                if known.is_some() {
                    plan.remove.insert(cookie);
                }
            }
        }
    }
    for &cookie in tracked.keys() {
        if listed.contains_key(&cookie) {
            continue;
        }
        if grace == Grace::None || suspects.contains(&cookie) {
            plan.remove.insert(cookie);
        } else {
            plan.suspects.insert(cookie);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(port: u16) -> TrackedSocket {
        let open = OpenSocket {
            protocol: vrfgate_core::Protocol::Tcp,
            address: [0, 0, 0, 0].into(),
            port,
            device: Some(7),
            dual_stack: false,
            peer: None,
            cookie: 0,
            inode: 0,
        };
        describe(&open, NetnsId(1), &BTreeMap::new())
    }

    fn sockets<const N: usize>(all: [(u64, u16); N]) -> Sockets {
        all.map(|(cookie, port)| (cookie, socket(port))).into()
    }

    #[test]
    fn a_socket_that_is_not_listed_once_is_a_suspect_and_goes_when_it_is_not_listed_twice() {
        let (tracked, listed) = (sockets([(1, 22)]), sockets([]));
        let first = plan(&tracked, &listed, &HashSet::new(), Grace::WithTracing);
        assert_eq!(
            first,
            Plan {
                suspects: [1].into(),
                ..Plan::default()
            }
        );
        let second = plan(&tracked, &listed, &first.suspects, Grace::WithTracing);
        assert_eq!(
            second,
            Plan {
                remove: [1].into(),
                ..Plan::default()
            }
        );
    }

    #[test]
    fn without_tracing_what_is_not_listed_goes_at_once() {
        let plan = plan(
            &sockets([(1, 22)]),
            &sockets([]),
            &HashSet::new(),
            Grace::None,
        );
        assert_eq!((plan.remove, plan.suspects), ([1].into(), [].into()));
    }

    #[test]
    fn a_socket_that_is_something_else_now_is_counted_anew_and_the_others_are_left_alone() {
        let plan = plan(
            &sockets([(1, 22), (2, 80)]),
            &sockets([(1, 23), (2, 80), (3, 53)]),
            &HashSet::new(),
            Grace::WithTracing,
        );
        assert_eq!(
            plan,
            Plan {
                add: sockets([(1, 23), (3, 53)]),
                remove: [1].into(),
                suspects: [].into(),
            }
        );
    }

    #[test]
    fn a_socket_on_a_slave_is_kept_under_its_vrf() {
        let open = |device| OpenSocket {
            protocol: vrfgate_core::Protocol::Udp,
            address: [0; 16].into(),
            port: 53,
            device,
            dual_stack: true,
            peer: None,
            cookie: 0,
            inode: 0,
        };
        let slaves = BTreeMap::from([(3, 2)]);
        for (device, expected) in [
            (None, (0, UNBOUND)),
            (Some(2), (2, ON_DEVICE)),
            (Some(3), (2, ON_SLAVE)),
            (Some(4), (4, ON_DEVICE)),
        ] {
            let described = describe(&open(device), NetnsId(1), &slaves);
            assert_eq!((described.key.device, described.key.scope), expected);
            assert_eq!(described.flags, SOCKET_DUAL_STACK);
        }
    }
}
