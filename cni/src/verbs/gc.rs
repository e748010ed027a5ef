//! GC: releases attachments of this network that the runtime doesn't know any more.

use super::pod::{Machine, failed};
use crate::{
    config::Places,
    protocol::{Failure, Input, ValidAttachment},
};

pub(crate) fn gc(input: &Input, places: &Places) -> Result<(), Failure> {
    let valid = input.valid_attachments()?;
    let machine = Machine::of(places);
    let reading = failed(format!(
        "reading {}",
        machine.attachments.directory().display()
    ));
    let mut first: Option<Failure> = None;
    for key in machine.attachments.keys().map_err(reading)? {
        let is_valid = valid.contains(&ValidAttachment {
            container_id: key.container_id.clone(),
            ifname: key.ifname.clone(),
        });
        if key.network != input.network || is_valid {
            continue;
        }
        // One that can't be released doesn't stop the others.
        if let Err(failure) = machine.release(&key) {
            match &mut first {
                Some(first) => first.details = format!("{}; {}", first.details, failure.details),
                None => first = Some(failure),
            }
        }
    }
    first.map_or(Ok(()), Err)
}
