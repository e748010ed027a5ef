//! The part of the CNI protocol that a chained plugin speaks: environment and stdin in, one JSON object out.
//!
//! Knows the specification, 0.3.1 to 1.1.0. It must not know what the plugin does.

mod environment;
mod failure;
mod input;
mod version;

pub(crate) use environment::{Call, Container, Environment, Verb};
pub(crate) use failure::{Code, Failure};
pub(crate) use input::{Input, ValidAttachment};
pub(crate) use version::SpecVersion;
pub use version::check_version;
