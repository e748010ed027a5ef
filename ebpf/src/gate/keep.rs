//! A gate that is there, and stays: what else was done to it is found, and put right.

use std::fs;

use super::Gate;
use crate::{
    Error, L3mdevAccept, OtherProgram, attachment::Attachment, error::Doing, others,
    sysctl::Switches,
};

/// What [`Gate::keep`] found wrong, and has put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// Something had changed the sysctls.
    Sysctls {
        /// To these values.
        found: L3mdevAccept,
        /// They are these again.
        set: L3mdevAccept,
    },
    /// Something had detached one of the gate's two links; the other decided meanwhile. There are two again,
    /// with the same rules and counters.
    Link,
    /// Something had removed pins. They are there again, with the same rules and counters.
    Pins,
    /// Something had removed the record. It is there again.
    Record,
    /// Something had removed pins of the tracker that tells of bound listeners. There is one again.
    Tracker,
}

impl Gate {
    /// As [`Gate::verify`]; also looks for listeners when it is time to, and puts right what something else has
    /// done to sysctls, pins, record and tracker since the last [`Gate::apply`]. A few dozen system calls where
    /// nothing has: it may be called often.
    pub fn keep(&mut self) -> Result<Vec<Mended>, Error> {
        self.verify()?;
        let mut mended = Vec::new();
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
                Ok(found) => mended.extend(found),
                // It may stay so for long, and the rest is to be kept meanwhile.
                Err(error @ Error::PortShared { .. }) => closed = Some(error),
                Err(error) if mended.is_empty() => return Err(error),
                // What was mended shall be told. The error comes again the next time, if it is one to stay.
                Err(_) => break,
            }
        }
        match closed {
            Some(error) if mended.is_empty() => Err(error),
            _ => Ok(mended),
        }
    }

    /// The `sk_lookup` programs of the namespace besides the gate's.
    pub fn other_programs(&self) -> Result<Vec<OtherProgram>, Error> {
        let ours = [&self.attached.gate, &self.attached.guard];
        others::beside(ours.map(Attachment::program_id), &self.netns)
    }

    fn keep_sysctls(&mut self) -> Result<Option<Mended>, Error> {
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
        Ok(Some(Mended::Sysctls {
            found,
            set: self.sysctls,
        }))
    }

    /// With one link, the next that is detached opens the door.
    fn keep_links(&mut self) -> Result<Option<Mended>, Error> {
        if self.attached.is_whole(&self.netns)? {
            return Ok(None);
        }
        self.renew()?;
        Ok(Some(Mended::Link))
    }

    /// Without its pins, the gate would end with this process.
    fn keep_pins(&mut self) -> Result<Option<Mended>, Error> {
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
        Ok(Some(Mended::Pins))
    }

    /// A port that has come to be shared is for [`Gate::later_shared_ports`] to tell.
    fn keep_ports(&mut self) -> Result<Option<Mended>, Error> {
        self.look_at_ports().map(|()| None)
    }

    /// Without its tracker, listeners that are bound to a VRF count for nothing as soon as they are new.
    fn keep_tracker(&mut self) -> Result<Option<Mended>, Error> {
        if self.tracker.is_in_place()? {
            self.tracker.keep(&self.netns)?;
            return Ok(None);
        }
        self.tracker.provide_again(&self.store, &self.netns)?;
        if !self.is_current()? {
            self.renew()?;
        }
        Ok(Some(Mended::Tracker))
    }

    /// Without its record, nobody knows what to give back.
    fn keep_record(&mut self) -> Result<Option<Mended>, Error> {
        let path = self.store.record(self.netns.id());
        if fs::exists(&path).doing(|| format!("looking at {}", path.display()))? {
            return Ok(None);
        }
        self.store
            .make_run_directory()
            .doing(|| format!("making {}", self.store.run_directory().display()))?;
        self.save_record()?;
        Ok(Some(Mended::Record))
    }
}
