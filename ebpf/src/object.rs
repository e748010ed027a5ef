//! The BPF object of the gate, compiled in.

/// Chosen by build.rs: the committed one, made by `make object`, so that building needs no BPF toolchain.
pub(crate) const OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("VRFGATE_OBJECTS"), "/vrfgate.bpf.o"));

/// Names of the two programs in the object.
pub(crate) const GATE: &str = "vrfgate";
pub(crate) const GUARD: &str = "vrfgate_guard";

/// How much the maps of one gate can hold. Memory is taken as entries come, except for counters
/// (24 bytes a slot and possible CPU) and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Entries of `rules`: one for each local address and block of ports.
    pub rules: u32,
    /// Entries of `sources`: one for each source prefix of each restricted rule.
    pub sources: u32,
    /// Slots of `counters`: one a rule and one a VRF.
    pub counters: u32,
    /// Bytes of the ring buffer of refusals; a power of two, and a multiple of the page size.
    pub events: u32,
}

impl Capacity {
    /// For the gate of a pod, which has few addresses: a hash table's buckets are made, and paid for, at once.
    pub const POD: Self = Self {
        rules: 8192,
        sources: 8192,
        counters: 256,
        events: 16_384,
    };
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            rules: 131_072,
            sources: 65_536,
            counters: 1024,
            events: 65_536,
        }
    }
}

/// Which object this is: two builds of vrfgate with the same number have the same program.
pub(crate) const BUILD: u64 = fingerprint(OBJECT);

/// 64-bit FNV-1a.
pub(crate) const fn fingerprint(object: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < object.len() {
        // A lossless `into` is no constant function.
        hash = (hash ^ object[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}
