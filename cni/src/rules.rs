//! From attachments and facts to the rules of one namespace's gate. No I/O.
//!
//! An agent makes the same rules of the same attachments, and adds addresses and leaks.

use vrfgate_core::{Attachment, NodeFacts, RuleError, RuleSet, compile, leaks_of};

use crate::facts::vrfs_of;

/// The rules of a namespace with these attachments: for each VRF, what any of them opens. A VRF that none of them is for is
/// gated, too, without rules. An attachment that contradicts an earlier one is left out.
///
/// # Errors
///
/// The rules of different attachments contradict each other all the same.
pub fn rule_set(attachments: &[Attachment], facts: &NodeFacts) -> Result<RuleSet, RuleError> {
    let leaks = leaks_of(attachments, &vrfs_of(facts));
    compile(&leaks, facts).rule_set().map(RuleSet::enforced)
}
