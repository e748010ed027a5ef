//! The `sk_lookup` programs that run in a namespace besides the gate.

use std::{fmt, io, os::fd::AsFd};

use aya::{
    maps::{MapInfo, MapType},
    programs::{ProgramInfo, loaded_programs},
};

use crate::{Error, Netns, error::Doing, sys};

/// A program that another owner has attached beside the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherProgram {
    /// Kernel-wide number (`bpftool prog show id N`).
    pub id: u32,
    /// As its maker named it; empty when there is no name.
    pub name: String,
    /// Whether it has a map of sockets, and so may assign one: that overrides what the gate refuses.
    pub may_assign: bool,
}

impl fmt::Display for OtherProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program {}", self.id)?;
        if !self.name.is_empty() {
            write!(f, " ({})", self.name)?;
        }
        Ok(())
    }
}

/// The programs of a namespace but for `ours`.
pub(crate) fn beside(ours: [u32; 2], netns: &Netns) -> Result<Vec<OtherProgram>, Error> {
    let others: Vec<u32> = sys::programs_of(netns.as_fd())
        .doing(|| format!("asking the kernel for the sk_lookup programs of {netns}"))?
        .into_iter()
        .filter(|program| !ours.contains(program))
        .collect();
    // Nothing but the number is asked of the kernel while there is none, which is nearly always.
    if others.is_empty() {
        return Ok(Vec::new());
    }
    // Those that are gone meanwhile, or that we may not inspect, have no name.
    let infos: Vec<ProgramInfo> = loaded_programs().filter_map(Result::ok).collect();
    Ok(others
        .into_iter()
        .map(|id| describe(id, infos.iter().find(|info| info.id() == id)))
        .collect())
}

fn describe(id: u32, info: Option<&ProgramInfo>) -> OtherProgram {
    OtherProgram {
        id,
        name: info
            .and_then(ProgramInfo::name_as_str)
            .unwrap_or_default()
            .to_owned(),
        // Reported as true where it is unknown.
        may_assign: info.is_none_or(|info| holds_sockets(info).unwrap_or(true)),
    }
}

/// A program can assign no socket but one out of a map: the helpers that look one up are not for its kind.
fn holds_sockets(info: &ProgramInfo) -> io::Result<bool> {
    let maps = info.map_ids().map_err(io::Error::other)?;
    for id in maps.unwrap_or_default() {
        let map = MapInfo::from_id(id).map_err(io::Error::other)?;
        let kind = map.map_type().map_err(io::Error::other)?;
        if matches!(
            kind,
            MapType::SockMap
                | MapType::SockHash
                | MapType::ReuseportSockArray
                | MapType::ArrayOfMaps
                | MapType::HashOfMaps
        ) {
            return Ok(true);
        }
    }
    Ok(false)
}
