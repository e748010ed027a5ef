//! Finds and repairs what other programs have done to a gate.

use std::fs;

use super::Gate;
use crate::{
    Error, L3mdevAccept, OtherProgram, attachment::Attachment, error::Doing, others,
    sysctl::Switches,
};

/// What [`Gate::keep`] found damaged, and has repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// Something had changed the sysctls.
    Sysctls {
        /// To these values.
        found: L3mdevAccept,
        /// They are these again.
        set: L3mdevAccept,
    },
    /// Something had detached one of the gate's two links; the other decided meanwhile. Both are attached again, with
    /// the same rules and counters.
    Link,
    /// Something had removed pins. They are back, with the same rules and counters.
    Pins,
    /// Something had removed the record. It is written again.
    Record,
    /// Something had removed pins of the tracker of bound listeners. It is made again.
    Tracker,
}

impl Gate {
    /// As [`Gate::verify`]; also polls listeners when that is due, and repairs sysctls, links, pins, record and tracker
    /// where something else has changed them since the last [`Gate::apply`]. Takes a few dozen system calls where
    /// nothing has, so it may be called often.
    pub fn keep(&mut self) -> Result<Vec<Repaired>, Error> {
        self.verify()?;
        let mut repairs = Vec::new();
        let mut closed = None;
        for step in [
            Self::keep_sysctls,
            Self::keep_links,
            Self::keep_pins,
            Self::keep_record,
            Self::keep_tracker,
            Self::keep_ports,
        ] {
            match step(self) {
                Ok(found) => repairs.extend(found),
                // This may last long, and the rest must be kept meanwhile.
                Err(error @ Error::PortShared { .. }) => closed = Some(error),
                Err(error) if repairs.is_empty() => return Err(error),
                // The repairs must be reported. An error that lasts comes again with the next call.
                Err(_) => break,
            }
        }
        match closed {
            Some(error) if repairs.is_empty() => Err(error),
            _ => Ok(repairs),
        }
    }

    /// The `sk_lookup` programs of the namespace besides the gate's.
    pub fn other_programs(&self) -> Result<Vec<OtherProgram>, Error> {
        let ours = [&self.attached.gate, &self.attached.guard];
        others::beside(ours.map(Attachment::program_id), &self.netns)
    }

    fn keep_sysctls(&mut self) -> Result<Option<Repaired>, Error> {
        let reading = || format!("reading the l3mdev_accept sysctls of {}", self.netns);
        let switches = match self.switches.take() {
            Some(switches) => switches,
            None => Switches::open(&self.netns).doing(reading)?,
        };
        let found = switches.read().doing(reading)?;
        self.switches = Some(switches);
        if found == self.sysctls {
            return Ok(None);
        }
        self.write_sysctls_again()?;
        Ok(Some(Repaired::Sysctls {
            found,
            set: self.sysctls,
        }))
    }

    /// With one link left, the next one that is detached lets every packet in.
    fn keep_links(&mut self) -> Result<Option<Repaired>, Error> {
        if self.attached.is_whole(&self.netns)? {
            return Ok(None);
        }
        self.renew()?;
        Ok(Some(Repaired::Link))
    }

    /// Without its pins, the gate would end with this process.
    fn keep_pins(&mut self) -> Result<Option<Repaired>, Error> {
        let pins = self.store.pins(self.netns.id());
        let intact = pins
            .intact()
            .doing(|| format!("looking at {}", pins.directory().display()))?;
        if intact {
            return Ok(None);
        }
        self.attached.pin_again(&pins).doing(|| {
            format!(
                "pinning the gate at {} again; it ends with this process unless that succeeds",
                pins.directory().display()
            )
        })?;
        Ok(Some(Repaired::Pins))
    }

    /// Ports that have come to be shared are not repaired, but reported by [`Gate::later_shared_ports`].
    fn keep_ports(&mut self) -> Result<Option<Repaired>, Error> {
        self.poll_ports().map(|()| None)
    }

    /// Without its tracker, the gate knows no new listener that is bound to a VRF.
    fn keep_tracker(&mut self) -> Result<Option<Repaired>, Error> {
        if self.tracker.is_in_place()? {
            self.tracker.keep(&self.netns)?;
            return Ok(None);
        }
        self.tracker.provide_again(&self.store, &self.netns)?;
        if !self.is_current()? {
            self.renew()?;
        }
        Ok(Some(Repaired::Tracker))
    }

    /// Without its record, the former values of the sysctls are lost.
    fn keep_record(&mut self) -> Result<Option<Repaired>, Error> {
        let path = self.store.record(self.netns.id());
        if fs::exists(&path).doing(|| format!("looking at {}", path.display()))? {
            return Ok(None);
        }
        self.store
            .make_run_directory()
            .doing(|| format!("making {}", self.store.run_directory().display()))?;
        self.save_record()?;
        Ok(Some(Repaired::Record))
    }
}
