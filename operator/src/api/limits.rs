//! How long the lists of a leak may be.
//!
//! A leak is written and reviewed by people, and one node's share of all of them must fit into one
//! object (etcd takes 1.5 MB) and into the gate's maps. The limits also bound what checking an
//! object costs, here and in the API server.

/// Leak routes of a leak, and return routes of a leak.
pub const ROUTES: usize = 64;
/// Services of a leak.
pub const SERVICES: usize = 256;
/// Address prefixes of a service.
pub const ADDRESSES: usize = 64;
/// Client prefixes of a service. Each is an entry in a map that all rules share.
pub const SOURCES: usize = 256;
/// Ports of a `serviceRef`; a Kubernetes Service has fewer in any practice.
pub const SERVICE_REF_PORTS: usize = 64;
/// Labels of a selector, and expressions of one. Objects have a dozen labels in practice.
pub const SELECTOR_TERMS: usize = 64;
/// Values of an expression of a selector.
pub const SELECTOR_VALUES: usize = 256;
