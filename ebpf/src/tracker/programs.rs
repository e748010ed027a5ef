//! The tracing programs: loaded around the pinned maps, attached, and pinned.

use std::{fs, path::Path};

use aya::{
    Btf, Ebpf, EbpfLoader, Endianness,
    programs::{BtfTracePoint, FEntry, FExit, ProgramError, links::FdLink},
};
use vrfgate_abi::SocketOffsets;

use super::{Tracing, maps, offsets::socket_offsets, pins::TrackerPins};
use crate::{
    Error,
    error::{Doing, causes},
    object::fingerprint,
    preflight::KERNEL_BTF,
    store::restrict,
};

const OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("VRFGATE_OBJECTS"), "/tracer.bpf.o"));

/// Number of the object: links are pinned in a directory of that name.
const BUILD: u64 = fingerprint(OBJECT);

/// Programs of the object, and what each is attached to.
const TCP_STATE: (&str, &str) = ("tcp_state", "inet_sock_set_state");
const UDP_BIND: (&str, &str) = ("udp_bind", "udp_lib_get_port");
const UDP_CLOSE: (&str, &str) = ("udp_close", "udp_lib_unhash");

/// Makes the maps, empty, and pins them.
pub(super) fn make_maps(staging: &TrackerPins) -> Result<(), Error> {
    let object = load(staging, &SocketOffsets::default())?;
    drop(object);
    for name in maps::ALL {
        let path = staging.map(name);
        restrict(&path).doing(|| format!("restricting {}", path.display()))?;
    }
    Ok(())
}

/// Sees to it that the tracing programs of this version are attached. What the kernel says against them is no
/// error: then sockets are looked for at intervals.
pub(super) fn attach(pins: &TrackerPins) -> Result<Tracing, Error> {
    let links = pins.links(BUILD);
    let doing = || format!("pinning the tracing programs at {}", links.display());
    if links.try_exists().doing(doing)? {
        return Ok(Tracing::On);
    }
    let staging = pins.stage_links().doing(doing)?;
    if let Err(why) = attach_and_pin(pins, &staging) {
        TrackerPins::discard_links(&staging).doing(doing)?;
        return Ok(Tracing::Off(why));
    }
    pins.publish_links(&staging, BUILD).doing(doing)?;
    Ok(Tracing::On)
}

fn attach_and_pin(pins: &TrackerPins, staging: &Path) -> Result<(), String> {
    let bytes = fs::read(KERNEL_BTF).map_err(|error| format!("{KERNEL_BTF}: {error}"))?;
    let offsets = socket_offsets(&bytes).ok_or_else(|| {
        format!("{KERNEL_BTF} doesn't tell where a socket's port, addresses and namespace are")
    })?;
    let btf = Btf::parse(&bytes, Endianness::default()).map_err(|error| causes(&error))?;
    let mut object = load(pins, &offsets).map_err(|error| error.to_string())?;
    for (name, link) in links(&mut object, &btf).map_err(|error| causes(&error))? {
        let path = staging.join(name);
        link.pin(&path).map_err(|error| causes(&error))?;
        restrict(&path).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Closing before opening, so that no socket is counted that is never counted out.
fn links(object: &mut Ebpf, btf: &Btf) -> Result<Vec<(&'static str, FdLink)>, ProgramError> {
    let mut links = Vec::new();
    let (name, function) = UDP_CLOSE;
    let program: &mut FEntry = program(object, name)?.try_into()?;
    program.load(function, btf)?;
    let link = program.attach()?;
    links.push((name, program.take_link(link)?.into()));

    let (name, function) = UDP_BIND;
    let program: &mut FExit = self::program(object, name)?.try_into()?;
    program.load(function, btf)?;
    let link = program.attach()?;
    links.push((name, program.take_link(link)?.into()));

    let (name, function) = TCP_STATE;
    let program: &mut BtfTracePoint = self::program(object, name)?.try_into()?;
    program.load(function, btf)?;
    let link = program.attach()?;
    links.push((name, program.take_link(link)?.into()));
    Ok(links)
}

fn program<'a>(
    object: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut aya::programs::Program, ProgramError> {
    object.program_mut(name).ok_or(ProgramError::NotLoaded)
}

/// Loads the object around the maps that are pinned; those that are not are made, and pinned.
fn load(pins: &TrackerPins, offsets: &SocketOffsets) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    for name in maps::ALL {
        loader.map_pin_path(name, pins.map(name));
    }
    loader
        .btf(None)
        .override_global("OFFSETS", offsets, true)
        .load(OBJECT)
        .map_err(Error::Load)
}
