//! Tells aya that the shared types are plain bytes. User space only.

use aya::Pod;

use crate::{
    Counters, ListenerKey, Listeners, PrefixRule, RuleKey, RuleValue, SlaveKey, Source,
    TrackedSocket, VrfMarks, VrfPolicy,
};

// SAFETY: each type below is `repr(C)`, holds only integers and arrays of integers, and has no padding
// (the sizes asserted in lib.rs equal the sums of the fields), so every byte pattern is a valid value and
// every byte of a value is defined.
unsafe impl Pod for VrfPolicy {}
// SAFETY: as above.
unsafe impl Pod for VrfMarks {}
// SAFETY: as above.
unsafe impl Pod for RuleKey {}
// SAFETY: as above.
unsafe impl Pod for PrefixRule {}
// SAFETY: as above.
unsafe impl Pod for RuleValue {}
// SAFETY: as above.
unsafe impl Pod for Source {}
// SAFETY: as above.
unsafe impl Pod for Counters {}
// SAFETY: as above; of these, the sizes are asserted in listeners.rs.
unsafe impl Pod for ListenerKey {}
// SAFETY: as above.
unsafe impl Pod for Listeners {}
// SAFETY: as above.
unsafe impl Pod for TrackedSocket {}
// SAFETY: as above.
unsafe impl Pod for SlaveKey {}
