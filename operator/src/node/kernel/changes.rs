//! Notifications that something has changed in a namespace, and the changes among them that can't wait.

use std::{collections::HashSet, io};

use futures_util::FutureExt as _;
use ipnet::IpNet;
use netlink_sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use tokio::runtime::Handle;
use vrfgate_core::Link;
use vrfgate_ebpf::{
    Netns,
    netlink::{self, Message, Messages},
};

use super::{RULE, Route};
use crate::node::{facts::local_prefix, routes::PROTOCOL};

/// `<linux/rtnetlink.h>`
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const AF_UNSPEC: u8 = 0;
/// `RTNLGRP_LINK`, then addresses, routes and rules of IPv4 and IPv6.
const GROUPS: [u32; 7] = [1, 5, 9, 7, 11, 8, 19];
/// The kernel makes no larger notifications.
const BUFFER: usize = 64 << 10;
/// How many notifications are read at once before they are returned.
const AT_ONCE: usize = 10_000;

/// What has changed in a namespace, as far as it matters before everything is reconciled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Devices that are new, or notified again: a VRF and its slaves are open until the gate knows them.
    pub links: Vec<Link>,
    /// Policy rules came or went.
    pub rules: bool,
    /// Routes of others came or went where ours should stand.
    pub routes: bool,
}

impl Change {
    /// Something was missed: anything may have changed.
    fn anything() -> Self {
        Self {
            links: Vec::new(),
            rules: true,
            routes: true,
        }
    }
}

/// A socket on which the kernel notifies of changes.
pub(in crate::node) struct Changes {
    socket: TokioSocket,
    buffer: Vec<u8>,
    /// Where routes of ours stand, or should.
    places: HashSet<(u32, IpNet)>,
}

impl Changes {
    /// Must be called within a Tokio runtime.
    pub(in crate::node) fn open(netns: &Netns) -> io::Result<Self> {
        let runtime = Handle::current();
        let mut socket = netns.run(|| {
            let _context = runtime.enter();
            TokioSocket::new(NETLINK_ROUTE)
        })??;
        let options = socket.socket_mut();
        options.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            options.add_membership(group)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER),
            places: HashSet::new(),
        })
    }

    /// Watches others' routes in these tables to these destinations from now on. No others: a routing daemon's come
    /// and go by the thousand.
    pub(in crate::node) fn watch(&mut self, places: HashSet<(u32, IpNet)>) {
        self.places = places;
    }

    /// Waits until something has changed that matters, and returns all of it. Nothing is lost when the wait is cancelled.
    pub(in crate::node) async fn next(&mut self) -> io::Result<Change> {
        let Self {
            socket,
            buffer,
            places,
        } = self;
        loop {
            let mut all = None;
            add(&mut all, receive(socket, buffer, places).await?);
            for _ in 0..AT_ONCE {
                match receive(socket, buffer, places).now_or_never() {
                    Some(changes) => add(&mut all, changes?),
                    None => break,
                }
            }
            if let Some(all) = all {
                return Ok(all);
            }
        }
    }
}

fn add(all: &mut Option<Change>, changes: Vec<Change>) {
    for Change {
        links,
        rules,
        routes,
    } in changes
    {
        let all = all.get_or_insert_default();
        all.links.extend(links);
        all.rules |= rules;
        all.routes |= routes;
    }
}

/// What of the next datagram matters.
async fn receive(
    socket: &TokioSocket,
    buffer: &mut Vec<u8>,
    places: &HashSet<(u32, IpNet)>,
) -> io::Result<Vec<Change>> {
    buffer.clear();
    match socket.recv_from(buffer).await {
        // Another process may send to our port, too.
        Ok(from) if from.port_number() != 0 => Ok(Vec::new()),
        Ok(_) => Ok(changes(buffer, places)),
        // More happened than the socket could hold.
        Err(error) if error.raw_os_error() == Some(nix::Error::ENOBUFS as i32) => {
            Ok(vec![Change::anything()])
        }
        Err(error) => Err(error),
    }
}

/// What of a datagram matters.
pub(super) fn changes(datagram: &[u8], places: &HashSet<(u32, IpNet)>) -> Vec<Change> {
    Messages::of(datagram)
        .filter_map(|message| match message {
            Ok(message) => change(&message, places),
            // Cut off, or of another make.
            Err(_) => Some(Change::anything()),
        })
        .collect()
}

/// The change in a message. Links and addresses always count. Routes count only when a whole prefix becomes local or ceases to
/// be, when one of ours goes, and when another one comes or goes where one of ours should stand.
fn change(message: &Message<'_>, places: &HashSet<(u32, IpNet)>) -> Option<Change> {
    match message.kind {
        RTM_NEWROUTE | RTM_DELROUTE => match Route::read(message) {
            Ok(Some(route)) => {
                let ours = route.protocol == PROTOCOL;
                let gone = ours && message.kind == RTM_DELROUTE;
                let routes = !ours && places.contains(&(route.table, route.destination));
                (gone || routes || local_prefix(&route).is_some()).then(|| Change {
                    routes,
                    ..Change::default()
                })
            }
            Ok(None) => None,
            Err(_) => Some(Change {
                routes: true,
                ..Change::default()
            }),
        },
        RTM_NEWLINK => Some(Change {
            // A bridge notifies of its ports, and of itself as if it were one, by messages of another family. One that can't
            // be read is read with all the others later.
            links: match (message.field(0), netlink::link(message)) {
                (Ok([AF_UNSPEC]), Ok(link)) => vec![link.into()],
                _ => Vec::new(),
            },
            ..Change::default()
        }),
        kind if RULE.contains(&kind) => Some(Change {
            rules: true,
            ..Change::default()
        }),
        _ => Some(Change::default()),
    }
}
