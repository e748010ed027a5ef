//! STATUS: whether an ADD would succeed on this machine.

use vrfgate_ebpf::preflight;

use super::pod::{Machine, failed};
use crate::{
    agent,
    config::{OwnConfig, Places},
    protocol::{Code, Failure, Input},
};

pub(crate) fn status(input: &Input, places: &Places) -> Result<(), Failure> {
    let own = OwnConfig::of(input)?;
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
        // What the node lacks may have cost existing gates, too.
        let code = if any {
            Code::LimitedConnectivity
        } else {
            Code::NotAvailable
        };
        return Err(Failure::new(code, texts.join("; ")));
    }
    if own.required {
        agent::is_there(&machine.agent_socket)
            .map_err(|error| Failure::new(Code::NotAvailable, error.to_string()))?;
    }
    Ok(())
}
