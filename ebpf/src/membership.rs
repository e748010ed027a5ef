//! Which VRF a device is in, as the kernel's `l3mdev_master_ifindex_by_index()` has it, by rtnetlink.

use std::io;

use vrfgate_core::LinkKind;

use crate::{
    Netns,
    netlink::{Error, Link, Socket, link_of},
};

/// Whose packets a socket gets that is bound to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Those of this VRF.
    Vrf(u32),
    /// Those of a device that is in no VRF.
    None,
    /// The device is gone and may have been a VRF, or the kernel's answer can't be read.
    Unknown,
}

/// Where one device belongs.
pub(crate) fn of(netns: &Netns, device: u32) -> io::Result<Membership> {
    match link_of(&mut Socket::route(netns)?, device) {
        Ok(link) => Ok(membership(&link)),
        Err(Error::Malformed(_)) => Ok(Membership::Unknown),
        Err(error) if error.errno() == Some(nix::Error::ENODEV) => Ok(Membership::Unknown),
        Err(error) => Err(error.into()),
    }
}

fn membership(link: &Link) -> Membership {
    match (link.kind, link.master) {
        (LinkKind::Vrf { .. }, _) => Membership::Vrf(link.ifindex),
        (_, Some(master)) if link.is_slave_of_vrf => Membership::Vrf(master),
        _ => Membership::None,
    }
}
