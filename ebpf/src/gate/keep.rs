//! A gate that is there, and stays: what else was done to it is found, and put right.

use std::fs;

use super::Gate;
use crate::{Error, L3mdevAccept, OtherProgram, error::Doing, others, sysctl::Switches};

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
    /// Something had removed pins. They are there again, with the same rules and counters.
    Pins,
    /// Something had removed the record. It is there again.
    Record,
}

impl Gate {
    /// As [`Gate::verify`]; also puts right what something else has done to sysctls, pins and record since the
    /// last [`Gate::apply`]. A handful of system calls where nothing has: it may be called often.
    pub fn keep(&mut self) -> Result<Vec<Mended>, Error> {
        self.verify()?;
        let mut mended = Vec::new();
        mended.extend(self.keep_sysctls()?);
        mended.extend(self.keep_pins()?);
        mended.extend(self.keep_record()?);
        Ok(mended)
    }

    /// The `sk_lookup` programs of the namespace besides the gate's.
    pub fn other_programs(&self) -> Result<Vec<OtherProgram>, Error> {
        let ours = self
            .attached
            .program_id()
            .doing(|| format!("asking the kernel about the gate of {}", self.netns))?;
        others::beside(ours, &self.netns)
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
        self.sysctls
            .write(&self.netns)
            .doing(|| format!("setting the l3mdev_accept sysctls of {}", self.netns))?;
        Ok(Some(Mended::Sysctls {
            found,
            set: self.sysctls,
        }))
    }

    /// Without its pins, the gate would end with this process.
    fn keep_pins(&self) -> Result<Option<Mended>, Error> {
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

    /// Without its record, nobody knows what to give back.
    fn keep_record(&self) -> Result<Option<Mended>, Error> {
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
