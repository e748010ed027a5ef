//! Brings reply steering into force: our nftables table, and our policy rules.
//!
//! The policy rules come first and go last. They do nothing without the table, and where there are none there
//! is no table to look for: a host that steers nothing never loads nftables for us.

mod clash;
mod connections;
mod expression;
mod nftables;
mod rules;
mod socket;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::Path,
};

use tracing::debug;
use vrfgate_ebpf::{
    Netns,
    netlink::{self, Socket},
};

pub use self::clash::{MarkUser, missing_modules};
use vrfgate_core::{MarkMask, SteeredVrf, Steering};

use self::{nftables::NfTables, rules::MarkRule};
use super::routes;

/// The result of a reconciliation of steering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteerOutcome {
    /// Which VRFs are steered, and by which marks.
    pub steering: Steering,
    /// Whether anything had to be changed.
    pub changed: bool,
    /// Why it isn't in force. What was, still is.
    pub refused: Option<String>,
    /// VRFs towards whose clients the main table knows no way, each with an address among them.
    pub unrouted: Vec<(String, IpAddr)>,
}

/// Makes table and rules as wanted, and changes only what differs.
pub(super) fn reconcile(
    socket: &mut Socket,
    netns: &Netns,
    vrfs: &[SteeredVrf],
    mask: MarkMask,
) -> Result<SteerOutcome, netlink::Error> {
    let present = rules::ours(socket)?;
    let in_force: BTreeMap<u32, u32> = present
        .iter()
        .filter(|rule| rule.mask == mask.bits())
        .map(|rule| (rule.table, rule.mark))
        .collect();
    let mut outcome = SteerOutcome {
        steering: Steering::assign(vrfs, mask, &in_force),
        changed: false,
        refused: None,
        unrouted: unrouted(socket, vrfs)?,
    };
    let wanted = rules::wanted(&outcome.steering);
    if wanted.is_empty() && present.is_empty() && !may_have_tables() {
        return Ok(outcome);
    }
    let mut added = Vec::new();
    for rule in &wanted {
        if present.contains(rule) {
            continue;
        }
        rules::add(socket, *rule)?;
        added.push(*rule);
    }
    outcome.changed |= !added.is_empty();
    match bring_table(netns, &outcome.steering) {
        Ok(changed) => outcome.changed |= changed,
        Err(error) => {
            remove(socket, |rule| added.contains(&rule))?;
            return Ok(SteerOutcome {
                changed: false,
                refused: Some(explain(&error)),
                ..outcome
            });
        }
    }
    if remove(socket, |rule| !wanted.contains(&rule))? {
        outcome.changed = true;
        let zones = outcome.steering.vrfs.iter().map(|marked| marked.zone);
        forget_connections(netns, &zones.collect());
    }
    Ok(outcome)
}

/// Removes everything that steering made. True when there was anything.
pub(super) fn clear(socket: &mut Socket, netns: &Netns) -> Result<bool, SteerError> {
    let present = rules::ours(socket).map_err(SteerError::Rules)?;
    let mut found = !present.is_empty();
    if found || may_have_tables() {
        found |= NfTables::open(netns)
            .and_then(|mut tables| tables.remove())
            .map_err(|error| SteerError::Table(explain(&error)))?;
    }
    if found {
        forget_connections(netns, &BTreeSet::new());
    }
    remove(socket, |_| true).map_err(SteerError::Rules)?;
    Ok(found)
}

/// Others who read or change bits of the mask.
pub(super) fn mark_users(
    socket: &mut Socket,
    netns: &Netns,
    mask: MarkMask,
) -> Result<Vec<MarkUser>, netlink::Error> {
    let mut users = clash::rules(&rules::others(socket)?, mask);
    if may_have_tables() {
        match NfTables::open(netns).and_then(|mut tables| tables.all_rules()) {
            Ok(rules) => users.extend(clash::chains(&rules, mask)),
            Err(error) => users.push(MarkUser::Unknown(explain(&error))),
        }
    }
    Ok(users)
}

/// Why steering could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The policy rules.
    #[error("removing policy rules of protocol 118: {0}")]
    Rules(netlink::Error),
    /// The table.
    #[error("removing the nf_tables table inet vrfgate: {0}")]
    Table(String),
}

/// Asks for a route to an address of each family that a VRF's clients are near to.
fn unrouted(
    socket: &mut Socket,
    vrfs: &[SteeredVrf],
) -> Result<Vec<(String, IpAddr)>, netlink::Error> {
    let mut unrouted = Vec::new();
    for vrf in vrfs {
        for ipv4 in [true, false] {
            let mut near = vrf.among_clients.iter();
            if let Some(address) = near.find(|address| address.is_ipv4() == ipv4)
                && vrf.has_family(ipv4)
                && !routes::is_reachable(socket, *address)?
            {
                unrouted.push((vrf.name.clone(), *address));
            }
        }
    }
    Ok(unrouted)
}

/// A failure is no reason to stop: connections end by themselves within minutes.
fn forget_connections(netns: &Netns, keep: &BTreeSet<u16>) {
    if let Err(error) = connections::forget(netns, keep) {
        debug!("forgetting connections of {netns} that were steered: {error}");
    }
}

/// True when the table had to be changed.
fn bring_table(netns: &Netns, steering: &Steering) -> io::Result<bool> {
    let mut tables = NfTables::open(netns)?;
    if steering.vrfs.is_empty() {
        return tables.remove();
    }
    let chains = table::chains(steering);
    if tables.holds(&chains)? {
        return Ok(false);
    }
    tables.replace(&chains)?;
    Ok(true)
}

fn remove(socket: &mut Socket, which: impl Fn(MarkRule) -> bool) -> Result<bool, netlink::Error> {
    let mut any = false;
    for rule in rules::ours(socket)? {
        if which(rule) {
            rules::remove(socket, rule)?;
            any = true;
        }
    }
    Ok(any)
}

/// Whether the kernel has loaded nftables. A request to it would load it.
fn may_have_tables() -> bool {
    Path::new("/sys/module/nf_tables").exists()
}

/// The kernel's answer, and what to do about it.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error().map(nix::Error::from_raw) {
        Some(nix::Error::EPERM | nix::Error::EACCES) => {
            format!("{error} (it takes CAP_NET_ADMIN)")
        }
        Some(nix::Error::ENOENT | nix::Error::EOPNOTSUPP | nix::Error::EPROTONOSUPPORT) => format!(
            "the kernel lacks a part of nf_tables: {error} (modprobe -a nf_tables nft_ct nft_chain_nat, or \
             boot a kernel that has them)"
        ),
        _ => error.to_string(),
    }
}

/// For the fuzzer.
#[cfg(feature = "fuzz")]
pub(super) fn read_everything(message: &vrfgate_ebpf::netlink::Message<'_>) {
    let _ = socket::decoded(message);
    connections::read_everything(message);
}
