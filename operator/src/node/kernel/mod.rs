//! Questions to the kernel and its notifications by rtnetlink: routes, policy rules, changes. Knows messages; must not know
//! what they are needed for.

mod changes;
mod questions;
mod route;
mod rule;

pub use self::changes::Change;
pub(super) use self::{
    changes::Changes,
    questions::Questions,
    route::{FIB_MATCH, Filter, LOOKUP_TABLE, Lookup, Route, fib_match, routes},
    rule::{LOCAL_TABLE, RULE, Rule, rules},
};

#[cfg(test)]
mod tests;

/// For the fuzzer.
#[cfg(feature = "fuzz")]
pub(super) fn read_everything(
    datagram: &[u8],
    places: &std::collections::HashSet<(u32, ipnet::IpNet)>,
) {
    changes::changes(datagram, places);
    for message in vrfgate_ebpf::netlink::Messages::of(datagram).flatten() {
        let _ = route::Route::read(&message);
        let _ = rule::Rule::read(&message);
    }
}
