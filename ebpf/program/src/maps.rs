//! The gate's maps and the only ways to read and count in them. Sizes here are what a loader gets that does
//! not ask for others; see `Capacity` in the loader.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_RB_NO_WAKEUP},
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, lpm_trie::Key as Prefix},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use vrfgate_abi::{
    Counters, Event, IPV6, LARGEST_BLOCK, PortBlock, PrefixRule, REFUSED, RuleKey, RuleValue, Source,
    VRF_PREFIXES, VrfMarks, VrfPolicy, WOULD_REFUSE,
};

use crate::lookup::{Address, Key, Lookup};

/// Allocates entries as they come: a namespace with three rules must not pay for 100,000.
const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map(name = "vrf_marks")]
static VRF_MARKS: Array<VrfMarks, 1> = Array::new();

#[btf_map(name = "vrfs")]
static VRFS: HashMap<u32, VrfPolicy, 4096, ON_DEMAND> = HashMap::new();

/// The VRF of each slave, both by ifindex.
#[btf_map(name = "slaves")]
static SLAVES: HashMap<u32, u32, 65_536, ON_DEMAND> = HashMap::new();

#[btf_map(name = "rules")]
static RULES: HashMap<RuleKey, RuleValue, 131_072, ON_DEMAND> = HashMap::new();

#[btf_map(name = "prefix_rules")]
static PREFIX_RULES: LpmTrie<PrefixRule, RuleValue, 16_384, ON_DEMAND> = LpmTrie::new();

#[btf_map(name = "sources")]
static SOURCES: LpmTrie<Source, u8, 65_536, ON_DEMAND> = LpmTrie::new();

#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<Counters, 1024> = PerCpuArray::new();

#[btf_map(name = "events")]
static EVENTS: RingBuf<Event, 65_536> = RingBuf::new();

/// A VRF of this namespace: its ifindex, and what the gate does with its packets.
#[derive(Clone, Copy)]
pub struct Vrf {
    pub ifindex: u32,
    pub policy: &'static VrfPolicy,
}

/// The VRF that the packet came through, if it did.
///
/// The kernel shows the VRF device, with one exception: an IPv4 packet that a process of this host sends to an
/// address of its own VRF shows the device that has the address, most often a slave. An IPv6 packet that shows a
/// slave did not come through the VRF: its destination is a link-local address of this host.
#[inline(always)]
pub fn vrf_of(packet: &Lookup<'_>) -> Option<Vrf> {
    let ifindex = packet.ingress_ifindex();
    // The map has this one value, always.
    if !VRF_MARKS.get(0)?.may_hold(ifindex) {
        return None;
    }
    // SAFETY: the program never inserts or removes; the kernel frees a removed entry after an RCU grace
    // period, which this program's run holds off.
    if let Some(policy) = unsafe { VRFS.get(ifindex) } {
        return Some(Vrf { ifindex, policy });
    }
    if packet.family() == IPV6 {
        return None;
    }
    // SAFETY: as above.
    let ifindex = *unsafe { SLAVES.get(ifindex) }?;
    // SAFETY: as above.
    let policy = unsafe { VRFS.get(ifindex) }?;
    Some(Vrf { ifindex, policy })
}

/// The rule for the packet's local address and port: one look-up for each block size the VRF has in use, and
/// one more where it has rules for whole prefixes.
#[inline(always)]
pub fn find_rule(packet: &Lookup<'_>, vrf: Vrf) -> Option<&'static RuleValue> {
    let Vrf { ifindex, policy } = vrf;
    let protocol = packet.protocol();
    let udp = packet.udp_mask();
    let mut blocks = policy.tcp_blocks & !udp | policy.udp_blocks & udp;
    let port = packet.local_port();
    let Address([a, b, c, d]) = packet.local_address();
    let mut key = Key([ifindex, 0, a, b, c, d]);
    for size in 0..=LARGEST_BLOCK {
        if blocks == 0 {
            return None;
        }
        if blocks & 1 != 0 {
            key.0[1] = Key::<6>::word(PortBlock::holding(port, size).first, protocol, size);
            let key: &RuleKey = key.of();
            // SAFETY: as in `vrf_of`.
            if let Some(rule) = unsafe { RULES.get(key) } {
                return Some(rule);
            }
            if policy.flags & VRF_PREFIXES != 0 {
                let prefix = PrefixRule::of(key, packet.family());
                if let Some(rule) = PREFIX_RULES.get(&Prefix::new(PrefixRule::FULL_BITS, prefix)) {
                    return Some(rule);
                }
            }
        }
        blocks >>= 1;
    }
    None
}

/// Whether a restricted rule allows the packet's sender.
#[inline(always)]
pub fn source_allowed(packet: &Lookup<'_>, rule: u32) -> bool {
    let client = Source::new(rule, packet.family(), packet.remote_address().bytes());
    SOURCES.get(&Prefix::new(Source::FULL_BITS, client)).is_some()
}

/// One slot of the counters, on this CPU. Without a slot (a number the loader never gives) nothing counts.
pub struct Tally(Option<*mut Counters>);

impl Tally {
    #[inline(always)]
    pub fn of(slot: u32) -> Self {
        Self(COUNTERS.get_ptr_mut(slot))
    }

    #[inline(always)]
    pub fn passed(self) {
        self.add(|counters| &mut counters.passed);
    }

    #[inline(always)]
    pub fn not_allowed(self, audited: bool) {
        self.add(|counters| {
            if audited {
                &mut counters.would_refuse
            } else {
                &mut counters.refused
            }
        });
    }

    #[inline(always)]
    fn add(self, field: impl FnOnce(&mut Counters) -> &mut u64) {
        if let Some(counters) = self.0 {
            // SAFETY: the slot belongs to this CPU, and the verifier has checked that it is there. The program runs with softirqs
            // off, so that another run of it on this CPU begins when this one is over: under PREEMPT_RT, where this one may be
            // preempted, by the lock of each CPU that turning them off takes there. From 6.18 on that lock may be left out of a
            // PREEMPT_RT kernel: then two runs may read the same number, and one of two packets isn't counted.
            *field(unsafe { &mut *counters }) += 1;
        }
    }
}

/// Puts one refusal into the ring buffer. When nobody reads, the buffer is full and this costs a failed
/// reservation: sampling by what fits, so that a flood can't slow the gate. Readers poll: no wake-up.
#[inline(always)]
pub fn report(packet: &Lookup<'_>, vrf: Vrf, rule: u32, audited: bool) {
    if let Some(mut slot) = EVENTS.reserve(0) {
        slot.write(Event {
            // SAFETY: a helper without arguments.
            time_ns: unsafe { bpf_ktime_get_ns() },
            vrf: vrf.ifindex,
            rule,
            remote: packet.remote_address().bytes(),
            local: packet.local_address().bytes(),
            remote_port: packet.remote_port(),
            local_port: packet.local_port(),
            protocol: packet.protocol(),
            verdict: if audited { WOULD_REFUSE } else { REFUSED },
            padding: [0; 2],
        });
        slot.submit(BPF_RB_NO_WAKEUP.into());
    }
}
