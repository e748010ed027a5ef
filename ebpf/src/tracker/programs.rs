//! The tracing programs: loaded around the pinned maps, attached, and pinned.

use std::{fs, os::fd::AsFd, path::Path};

use aya_obj::generated::bpf_attach_type::{
    self, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_TRACE_RAW_TP,
};
use vrfgate_abi::SocketOffsets;

use super::{Tracing, kernel::Kernel, maps, pins::TrackerPins};
use crate::{
    Error,
    error::{Doing, causes},
    load::Loaded,
    object::fingerprint,
    preflight::KERNEL_BTF,
    store::restrict,
    sys::{self, Kind},
};

const OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("VRFGATE_OBJECTS"), "/tracer.bpf.o"));

/// Number of the object: links are pinned in a directory of that name.
const BUILD: u64 = fingerprint(OBJECT);

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
    let kernel = Kernel::parse(&bytes);
    let offsets = kernel.as_ref().and_then(Kernel::socket_offsets);
    let (Some(kernel), Some(offsets)) = (kernel, offsets) else {
        return Err(format!(
            "{KERNEL_BTF} doesn't tell where a socket's port, addresses and namespace are"
        ));
    };
    let object = load(pins, &offsets).map_err(|error| error.to_string())?;
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
        let number = number.ok_or_else(|| format!("{KERNEL_BTF} has no {to}"))?;
        let loaded = object.load_program(program, Kind::Tracing(attach, number));
        let loaded = loaded.map_err(|error| causes(&error))?;
        let path = staging.join(program);
        sys::trace(loaded.as_fd())
            .and_then(|link| sys::pin(link.as_fd(), &path))
            .map_err(|error| format!("attaching {program} to {to}: {error}"))?;
        restrict(&path).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Loads the object around the maps that are pinned; those that are not are made, and pinned.
fn load(pins: &TrackerPins, offsets: &SocketOffsets) -> Result<Loaded, Error> {
    Loaded::tracker(OBJECT, offsets, |name| {
        maps::ALL.contains(&name).then(|| pins.map(name))
    })
}
