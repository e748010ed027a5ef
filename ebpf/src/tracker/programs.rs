//! The tracing programs: loaded around the pinned maps, attached, and pinned.

use std::{fs, io, os::fd::AsFd, path::Path};

use aya_obj::generated::bpf_attach_type::{
    self, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP,
};
use vrfgate_abi::SocketOffsets;
use vrfgate_machine::restrict;

use super::{
    kernel::Kernel,
    pins::{MAPS, TrackerPins},
};
use crate::{
    Error,
    causes::as_io,
    error::Doing,
    load::Loaded,
    object::fingerprint,
    preflight::KERNEL_BTF,
    sys::{self, Kind},
};

const OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("VRFGATE_OBJECTS"), "/tracer.bpf.o"));

/// Number of the object: links are pinned in a directory of that name.
const BUILD: u64 = fingerprint(OBJECT);

/// How a gate learns of listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// By tracing programs, at the moment they listen.
    On,
    /// By polling, because the kernel refuses the programs, for this reason.
    Off(String),
}

/// A program of the object, and what it is attached to.
struct Hook {
    program: &'static str,
    attach: bpf_attach_type,
    to: &'static str,
}

/// Closing before opening, so that no socket is counted that is never counted out.
const HOOKS: [Hook; 5] = [
    Hook {
        program: "udp_close",
        attach: BPF_TRACE_FENTRY,
        to: "udp_lib_unhash",
    },
    Hook {
        program: "tcp_unlisten",
        attach: BPF_TRACE_FENTRY,
        to: "inet_csk_listen_stop",
    },
    Hook {
        program: "udp_bind",
        attach: BPF_TRACE_FEXIT,
        to: "udp_lib_get_port",
    },
    Hook {
        program: "tcp_listen",
        attach: BPF_TRACE_FENTRY,
        to: "inet_csk_listen_start",
    },
    Hook {
        program: "tcp_state",
        attach: BPF_TRACE_RAW_TP,
        to: "inet_sock_set_state",
    },
];

/// Makes the maps, empty, and pins them.
pub(super) fn make_maps(staging: &TrackerPins) -> Result<(), Error> {
    let object = load(staging, &SocketOffsets::default())?;
    drop(object);
    for name in MAPS {
        let path = staging.map(name);
        restrict(&path).doing(|| format!("restricting {}", path.display()))?;
    }
    Ok(())
}

/// Makes sure that the tracing programs of this version are attached. It is no error when the kernel refuses them:
/// sockets are polled then. A shortage is an error, because it may pass.
pub(super) fn attach(pins: &TrackerPins) -> Result<Tracing, Error> {
    let links = pins.links(BUILD);
    let doing = || format!("pinning the tracing programs at {}", links.display());
    if links.try_exists().doing(doing)? {
        return Ok(Tracing::On);
    }
    let staging = pins.stage_links().doing(doing)?;
    if let Err(error) = attach_and_pin(pins, &staging) {
        TrackerPins::discard_links(&staging).doing(doing)?;
        if error.is_shortage() {
            return Err(error);
        }
        return Ok(Tracing::Off(error.to_string()));
    }
    pins.publish_links(&staging, BUILD).doing(doing)?;
    Ok(Tracing::On)
}

fn attach_and_pin(pins: &TrackerPins, staging: &Path) -> Result<(), Error> {
    let reading = || format!("reading {KERNEL_BTF}");
    let bytes = fs::read(KERNEL_BTF).doing(reading)?;
    let kernel = Kernel::parse(&bytes);
    let offsets = kernel.as_ref().and_then(Kernel::socket_offsets);
    let (Some(kernel), Some(offsets)) = (kernel, offsets) else {
        let lacking = "it doesn't tell where a socket's port, addresses and namespace are";
        return Err(io::Error::other(lacking)).doing(reading);
    };
    let object = load(pins, &offsets)?;
    for Hook {
        program,
        attach,
        to,
    } in HOOKS
    {
        let number = if attach == BPF_TRACE_RAW_TP {
            kernel.tracepoint(to)
        } else {
            kernel.function(to)
        };
        let lacking = || io::Error::other(format!("it has no {to}"));
        let number = number.ok_or_else(lacking).doing(reading)?;
        let loaded = object.load_program(program, Kind::Tracing(attach, number));
        let path = staging.join(program);
        loaded
            .map_err(|error| as_io(&error))
            .and_then(|loaded| sys::trace(loaded.as_fd()))
            .and_then(|link| sys::pin(link.as_fd(), &path))
            .doing(|| format!("attaching {program} to {to}"))?;
        restrict(&path).doing(|| format!("restricting {}", path.display()))?;
    }
    Ok(())
}

/// Loads the object around the maps that are pinned; those that are not are made, and pinned.
fn load(pins: &TrackerPins, offsets: &SocketOffsets) -> Result<Loaded, Error> {
    Loaded::tracker(OBJECT, offsets, |name| {
        MAPS.contains(&name).then(|| pins.map(name))
    })
}
