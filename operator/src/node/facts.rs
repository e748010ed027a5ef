//! The facts of a network namespace by rtnetlink: a snapshot, and notifications that it is out of date.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vrfgate_core::{Link, LocalPrefix, MarkMask, NodeFacts, Prefix, SteeredVrf, WantedRoute};
use vrfgate_ebpf::{
    Netns,
    netlink::{self, Socket, addresses, links},
};

use super::{
    kernel::{
        Change, Changes, Filter, LOCAL_TABLE, Questions, Route, routes as list_routes, rules,
    },
    routes::{self, RouteOutcome, Standing},
    steer::{self, MarkUser, SteerError, SteerOutcome},
};

/// `RTN_LOCAL`
const LOCAL: u8 = 2;

/// Why the facts of a namespace could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The namespace could not be entered, or a netlink socket not be opened in it.
    #[error("opening a netlink socket in {netns}: {cause}")]
    Socket {
        /// The namespace.
        netns: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// The kernel did not answer, or not in full.
    #[error("asking the kernel for the {what} of {netns}: {cause}")]
    Dump {
        /// What was asked for.
        what: &'static str,
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        cause: netlink::Error,
    },
}

/// A netlink connection into one namespace, subscribed to everything the facts depend on.
pub struct Watcher {
    netns: Netns,
    questions: Questions,
    changes: Changes,
    standing: Arc<Mutex<Standing>>,
}

impl Watcher {
    /// Subscribes first, so that no change between a snapshot and the next goes unnoticed. Must be called
    /// within a Tokio runtime.
    pub fn new(netns: &Netns) -> Result<Self, FactsError> {
        let socket_error = |cause| FactsError::Socket {
            netns: netns.to_string(),
            cause,
        };
        Ok(Self {
            netns: netns.clone(),
            changes: Changes::open(netns).map_err(socket_error)?,
            questions: Questions::open(netns).map_err(|error| socket_error(error.into()))?,
            standing: Arc::default(),
        })
    }

    /// The namespace.
    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Asks the kernel for `what`, as in "asking the kernel for the links".
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Socket) -> Result<T, netlink::Error> + Send + 'static,
    ) -> Result<T, FactsError> {
        self.questions
            .ask(work)
            .await
            .map_err(|cause| FactsError::Dump {
                what,
                netns: self.netns.to_string(),
                cause,
            })
    }

    /// What the namespace looks like now.
    pub async fn facts(&self) -> Result<NodeFacts, FactsError> {
        let links = self.ask("links", links).await?;
        let addresses = self.ask("addresses", addresses).await?;
        let prefixes = self.ask("local prefixes", local_prefixes).await?;
        Ok(NodeFacts {
            links: links.into_iter().map(Link::from).collect(),
            addresses,
            prefixes,
        })
    }

    /// The preferences of the policy rules that look up the `local` table, of IPv4 and IPv6. 0 unless somebody
    /// moved them behind the VRFs.
    pub async fn local_rule_preferences(&self) -> Result<[Option<u32>; 2], FactsError> {
        let [ipv4, ipv6] = [true, false].map(|ipv4| {
            self.ask("policy rules", move |socket| {
                let rules = rules(socket, ipv4)?;
                let of_local = rules.iter().filter(|rule| rule.is_of_local_table());
                Ok(of_local.map(|rule| rule.preference).min())
            })
        });
        Ok([ipv4.await?, ipv6.await?])
    }

    /// Waits until something changed since the last call, and returns all of it. `None` when the connection
    /// is lost and a new [`Watcher`] is needed.
    pub async fn changed(&mut self) -> Option<Change> {
        let change = self.changes.next().await.ok()?;
        if change.routes {
            locked(&self.standing).clear();
        }
        Some(change)
    }

    /// Makes and removes routes until they are as wanted, in a namespace that looks like `facts`. [`RouteOutcome`] has the
    /// result of each.
    pub async fn reconcile_routes(
        &mut self,
        wanted: &[WantedRoute],
        facts: &NodeFacts,
    ) -> Result<RouteOutcome, FactsError> {
        // Watched from now on, before they are read.
        self.changes.watch(routes::places(wanted));
        self.bring_routes(wanted.to_vec(), facts.links.clone())
            .await
    }

    /// Removes every route that vrfgate made in the namespace. Returns how many there were.
    pub async fn clear_routes(&self) -> Result<usize, FactsError> {
        let outcome = self.bring_routes(Vec::new(), Vec::new()).await?;
        Ok(outcome.removed)
    }

    async fn bring_routes(
        &self,
        wanted: Vec<WantedRoute>,
        links: Vec<Link>,
    ) -> Result<RouteOutcome, FactsError> {
        let standing = Arc::clone(&self.standing);
        self.ask("leak routes", move |socket| {
            routes::reconcile(socket, &wanted, &links, &mut locked(&standing))
        })
        .await
    }

    /// Makes reply steering as wanted; [`SteerOutcome`] has the result.
    pub async fn reconcile_steering(
        &self,
        vrfs: &[SteeredVrf],
        mask: MarkMask,
    ) -> Result<SteerOutcome, FactsError> {
        let (netns, vrfs) = (self.netns.clone(), vrfs.to_vec());
        self.ask("policy rules of reply steering", move |socket| {
            steer::reconcile(socket, &netns, &vrfs, mask)
        })
        .await
    }

    /// Removes everything that steering made in the namespace. True when there was anything.
    pub async fn clear_steering(&self) -> Result<bool, SteerError> {
        let netns = self.netns.clone();
        let cleared = self
            .questions
            .ask(move |socket| Ok(steer::clear(socket, &netns)));
        cleared.await.map_err(SteerError::Rules)?
    }

    /// Others who read or change the bits of marks that steering is to use.
    pub async fn mark_users(&self, mask: MarkMask) -> Result<Vec<MarkUser>, FactsError> {
        let netns = self.netns.clone();
        self.ask("policy rules", move |socket| {
            steer::mark_users(socket, &netns, mask)
        })
        .await
    }
}

/// Its content is consistent even if a holder has panicked.
fn locked(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

fn local_prefixes(socket: &mut Socket) -> Result<Vec<LocalPrefix>, netlink::Error> {
    let filter = Filter {
        table: LOCAL_TABLE,
        kind: LOCAL,
        protocol: 0,
    };
    let mut prefixes = Vec::new();
    for ipv4 in [true, false] {
        prefixes.extend(list_routes(socket, ipv4, filter, |route| {
            local_prefix(&route)
        })?);
    }
    Ok(prefixes)
}

/// The prefix that a route makes local as a whole. The route of a single address comes and goes with the address.
pub(super) fn local_prefix(route: &Route) -> Option<LocalPrefix> {
    let net = route.destination;
    if route.table != LOCAL_TABLE || route.kind != LOCAL || net.prefix_len() == net.max_prefix_len()
    {
        return None;
    }
    Some(LocalPrefix {
        ifindex: route.device?,
        prefix: Prefix::new(net).ok()?,
    })
}
