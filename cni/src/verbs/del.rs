//! DEL: undoes ADD. Succeeds whatever is gone already.

use super::pod::Machine;
use crate::{
    config::Places,
    protocol::{Container, Failure, Input},
};

pub(crate) fn del(container: &Container, input: &Input, places: &Places) -> Result<(), Failure> {
    Machine::of(places).release(&container.key(&input.network))
}
