//! STATUS: whether an ADD would succeed on this machine.

use vrfgate_ebpf::preflight;

use super::pod::{Machine, failed};
use crate::{
    agent,
    config::{Asked, Places},
    protocol::{Code, Failure, Input},
};

pub(crate) fn status(input: &Input, places: &Places) -> Result<(), Failure> {
    let asked = Asked::of(input)?;
    let machine = Machine::of(places);
    let lacks = preflight(&machine.store);
    if !lacks.is_empty() {
        let texts: Vec<String> = lacks.iter().map(ToString::to_string).collect();
        let reading = failed(format!(
            "reading {}",
            machine.attachments.directory().display()
        ));
        let any = machine
            .attachments
            .all()
            .map_err(reading)?
            .iter()
            .any(|attachment| attachment.key.network == input.network);
        // Without what is lacking now, the gates that there are may be gone as well.
        let code = if any {
            Code::LimitedConnectivity
        } else {
            Code::NotAvailable
        };
        return Err(Failure::new(code, texts.join("; ")));
    }
    if asked.required {
        agent::is_there(&machine.agent_socket)
            .map_err(|error| Failure::new(Code::NotAvailable, error.to_string()))?;
    }
    Ok(())
}
