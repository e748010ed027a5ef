//! A program that runs in a namespace by a link: how it gets there, is found again and checked.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::programs::{ProgramError, links::FdLink};
use vrfgate_machine::restrict;

use crate::{Error, Netns, causes::as_io, error::Doing, load::Loaded, pins::AttachmentPins, sys};

/// Handles on a link and its program. The link's descriptor keeps the program attached even if another program removes
/// the pins while we live.
pub(crate) struct Attachment {
    link: OwnedFd,
    program: OwnedFd,
    program_id: u32,
}

impl Attachment {
    /// Loads one of an object's programs, attaches it after whatever is attached already, and pins both.
    pub(crate) fn make(
        object: &Loaded,
        name: &str,
        netns: &Netns,
        pins: &AttachmentPins,
    ) -> Result<Self, Error> {
        let program_error = |cause: ProgramError| Error::Program {
            netns: netns.to_string(),
            cause,
        };
        let pinning = |cause| Error::Io {
            doing: format!("pinning the gate of {netns} at {}", pins.link.display()),
            cause,
        };
        let mut program = object.program(name, &pins.program).map_err(program_error)?;
        let link = program
            .attach(netns)
            .and_then(|id| program.take_link(id))
            .map_err(program_error)?;
        let _link = FdLink::from(link)
            .pin(&pins.link)
            .map_err(|error| pinning(as_io(&error)))?;
        for path in [&pins.program, &pins.link] {
            restrict(path).doing(|| format!("restricting {}", path.display()))?;
        }
        Self::open(pins)
    }

    /// What is pinned, be it attached or not.
    pub(crate) fn open(pins: &AttachmentPins) -> Result<Self, Error> {
        let open = |path| sys::open_pin(path).doing(|| format!("opening {}", path.display()));
        let program = open(&pins.program)?;
        Ok(Self {
            link: open(&pins.link)?,
            program_id: sys::program_id(program.as_fd())
                .doing(|| format!("asking the kernel about {}", pins.program.display()))?,
            program,
        })
    }

    /// Why the program doesn't run in this namespace by this link, if it doesn't. `running` are the programs
    /// that do run there.
    pub(crate) fn fault(&self, netns: &Netns, running: &[u32]) -> io::Result<Option<&'static str>> {
        let link = sys::link_info(self.link.as_fd())?;
        // A pin outlives its namespace; the link then reports 0, as it does when it was detached.
        Ok(if link.netns == 0 {
            Some("its link has been detached, or is of a namespace that is gone")
        } else if link.netns != netns.id().0 {
            Some("its link is of another namespace")
        } else if link.program != self.program_id {
            Some("its link runs another program")
        } else if !running.contains(&self.program_id) {
            Some("the kernel doesn't list its program")
        } else {
            None
        })
    }

    /// Pins link and program once more.
    pub(crate) fn pin(&self, pins: &AttachmentPins) -> io::Result<()> {
        for (path, object) in [(&pins.program, &self.program), (&pins.link, &self.link)] {
            sys::pin(object.as_fd(), path)?;
            restrict(path)?;
        }
        Ok(())
    }

    /// Kernel-wide number of the program.
    pub(crate) fn program_id(&self) -> u32 {
        self.program_id
    }

    /// The program itself.
    #[cfg(feature = "test-run")]
    pub(crate) fn program(&self) -> &OwnedFd {
        &self.program
    }
}
