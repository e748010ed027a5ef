//! `VrfLeak`, the object that users write: its type, its CRD, its meaning.
//!
//! Owns the wire format and everything that can be wrong with it. What leaves here is a
//! [`Leak`](crate::compile::Leak), parsed and legal. Must not know of BPF, netlink or an API
//! server; files are read by the caller.

mod crd;
mod document;
mod field;
mod limits;
mod read;
mod shape;
mod types;
mod validate;
mod words;
mod yaml;

pub use crd::crd_yaml;
pub use field::{FieldError, FieldPath, Step};
pub use read::{Place, ReadError, read_leaks};
pub use types::{
    PodSelection, ReturnRouteSpec, RouteSpec, ServiceRef, ServiceSpec, VrfLeak, VrfLeakSpec,
    VrfLeakStatus,
};
pub use validate::parse_local;

#[cfg(test)]
mod tests;
