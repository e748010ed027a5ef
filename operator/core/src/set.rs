//! What leaks may not do to each other.

use thiserror::Error;

use super::{Leak, LeakName, Mode, Overlap, Prefix, ServiceName, VrfName};

/// Two leaks that cannot both be in force.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SetError {
    /// Two leaks with one name.
    #[error("leak {0}: another leak has the same name")]
    SameName(LeakName),
    /// A VRF cannot be both enforced and audited.
    #[error(
        "leaks {enforcing} and {auditing} disagree on VRF {vrf}: \
         spec.mode is Enforce in the first and Audit in the second"
    )]
    Mode {
        /// The VRF that both name.
        vrf: VrfName,
        /// A leak that wants it enforced.
        enforcing: LeakName,
        /// A leak that wants it audited.
        auditing: LeakName,
    },
    /// One rule would have two owners, and two ideas of which clients may use it.
    #[error(
        "leak {later}: service {later_service} opens {overlap} to VRF {vrf}, \
         which service {earlier_service} of leak {earlier} opens already"
    )]
    Service {
        /// The VRF that both name.
        vrf: VrfName,
        /// The leak that comes first in the set.
        earlier: LeakName,
        /// Its service.
        earlier_service: ServiceName,
        /// The leak that comes after it.
        later: LeakName,
        /// Its service.
        later_service: ServiceName,
        /// What both open.
        overlap: Overlap,
    },
    /// One route cannot have two owners.
    #[error("leaks {earlier} and {later} both make the leak route {prefix} in VRF {vrf}")]
    Route {
        /// The VRF that both name.
        vrf: VrfName,
        /// The leak that comes first in the set.
        earlier: LeakName,
        /// The leak that comes after it.
        later: LeakName,
        /// The route's destination.
        prefix: Prefix,
    },
    /// One route cannot have two owners.
    #[error("leaks {earlier} and {later} both make the return route {prefix}")]
    ReturnRoute {
        /// The leak that comes first in the set.
        earlier: LeakName,
        /// The leak that comes after it.
        later: LeakName,
        /// The route's destination.
        prefix: Prefix,
    },
}

/// All conflicts among the leaks of one namespace, each pair of leaks looked at once.
///
/// Leaks of one VRF that do not conflict add up.
#[must_use]
pub fn check_set(leaks: &[Leak]) -> Vec<SetError> {
    let mut errors = Vec::new();
    for (index, later) in leaks.iter().enumerate() {
        for earlier in &leaks[..index] {
            check_pair(earlier, later, &mut errors);
        }
    }
    errors
}

/// The first of what keeps two leaks apart; who mends it sees the next.
#[must_use]
pub fn first_conflict(earlier: &Leak, later: &Leak) -> Option<SetError> {
    let mut errors = Vec::new();
    check_pair(earlier, later, &mut errors);
    errors.into_iter().next()
}

/// What keeps two leaks from being in force together.
fn check_pair(earlier: &Leak, later: &Leak, errors: &mut Vec<SetError>) {
    if earlier.name == later.name {
        errors.push(SetError::SameName(later.name.clone()));
        return;
    }
    check_return_routes(earlier, later, errors);
    if earlier.vrf == later.vrf {
        check_modes(earlier, later, errors);
        check_routes(earlier, later, errors);
        check_services(earlier, later, errors);
    }
}

/// Return routes all live in the main table, whatever VRF they lead to.
fn check_return_routes(earlier: &Leak, later: &Leak, errors: &mut Vec<SetError>) {
    for route in &later.return_routes {
        if earlier
            .return_routes
            .iter()
            .any(|other| other.prefix == route.prefix)
        {
            errors.push(SetError::ReturnRoute {
                earlier: earlier.name.clone(),
                later: later.name.clone(),
                prefix: route.prefix,
            });
        }
    }
}

fn check_modes(earlier: &Leak, later: &Leak, errors: &mut Vec<SetError>) {
    let (enforcing, auditing) = match (earlier.mode, later.mode) {
        (Mode::Enforce, Mode::Audit) => (earlier, later),
        (Mode::Audit, Mode::Enforce) => (later, earlier),
        (Mode::Enforce, Mode::Enforce) | (Mode::Audit, Mode::Audit) => return,
    };
    errors.push(SetError::Mode {
        vrf: later.vrf.clone(),
        enforcing: enforcing.name.clone(),
        auditing: auditing.name.clone(),
    });
}

fn check_routes(earlier: &Leak, later: &Leak, errors: &mut Vec<SetError>) {
    for route in &later.routes {
        if earlier
            .routes
            .iter()
            .any(|other| other.prefix == route.prefix)
        {
            errors.push(SetError::Route {
                vrf: later.vrf.clone(),
                earlier: earlier.name.clone(),
                later: later.name.clone(),
                prefix: route.prefix,
            });
        }
    }
}

fn check_services(earlier: &Leak, later: &Leak, errors: &mut Vec<SetError>) {
    for mine in &later.services {
        for theirs in &earlier.services {
            if let Some(overlap) = mine.overlap(theirs) {
                errors.push(SetError::Service {
                    vrf: later.vrf.clone(),
                    earlier: earlier.name.clone(),
                    earlier_service: theirs.name.clone(),
                    later: later.name.clone(),
                    later_service: mine.name.clone(),
                    overlap,
                });
            }
        }
    }
}
