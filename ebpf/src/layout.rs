//! Names of what a gate consists of, in the BPF object and as pins, and of the layouts that gates have had.

use vrfgate_abi::LAYOUT;

pub(crate) const VRF_MARKS: &str = "vrf_marks";
pub(crate) const VRFS: &str = "vrfs";
pub(crate) const SLAVES: &str = "slaves";
pub(crate) const RULES: &str = "rules";
pub(crate) const PREFIX_RULES: &str = "prefix_rules";
pub(crate) const SOURCES: &str = "sources";
pub(crate) const COUNTERS: &str = "counters";
pub(crate) const EVENTS: &str = "events";
/// The tracker's, pinned by each gate that uses it.
pub(crate) const LISTENERS: &str = "listeners";
/// The maps that a gate shares with no other.
pub(crate) const OWN_MAPS: [&str; 8] = [
    VRF_MARKS,
    VRFS,
    SLAVES,
    RULES,
    PREFIX_RULES,
    SOURCES,
    COUNTERS,
    EVENTS,
];

/// All maps of a gate.
pub(crate) fn maps() -> impl Iterator<Item = &'static str> {
    OWN_MAPS.into_iter().chain([LISTENERS])
}

/// Name of the directory that holds maps of a layout.
pub(crate) fn layout_name(layout: u32) -> String {
    format!("v{layout}")
}

/// Whether a directory is that of a layout before ours.
pub(crate) fn is_older(name: &str) -> bool {
    name.strip_prefix('v')
        .and_then(|number| number.parse::<u32>().ok())
        .is_some_and(|layout| layout < LAYOUT)
}
