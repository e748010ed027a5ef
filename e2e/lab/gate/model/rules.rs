//! Random leaks: what they mean to the model, and as a user writes them.

use std::fmt::{self, Write};

use fastrand::Rng;

use super::{Protocol, one_of, prefix::Prefix, some_of, world::VRFS};

/// Ports that are listed, listened on and tried. Few, so that what is random meets often.
pub const PORTS: [u16; 8] = [20, 21, 22, 23, 24, 25, 26, 27];

/// Prefixes that services list.
const ADDRESSES: [&str; 29] = [
    "0.0.0.0/0",
    "192.0.2.1/32",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "203.0.113.9/32",
    "203.0.113.128/25",
    "10.0.0.1/32",
    "10.0.0.0/24",
    "10.0.0.0/8",
    "10.0.1.1/32",
    "198.18.0.0/15",
    "127.0.0.0/8",
    "127.0.0.1/32",
    "169.254.0.0/16",
    "169.254.7.1/32",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::7/128",
    "2001:db8:1::/64",
    "2001:db8:2::/64",
    "2001:db8:3::/64",
    "2001:db8:3::9/128",
    "2001:db8:a::1/128",
    "2001:db8:a::/64",
    "2001:db8:b::/64",
    "::1/128",
    "fe80::/10",
    "fe80::1/128",
];

/// Loopback and link-local ones.
const ON_PURPOSE: [&str; 4] = ["127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"];

/// Prefixes of clients. A wide one holds link-local clients as well: only local addresses have to be meant.
const SOURCES: [&str; 12] = [
    "0.0.0.0/0",
    "10.0.0.2/32",
    "10.0.0.0/24",
    "10.0.0.0/8",
    "169.254.0.0/16",
    "169.254.7.2/32",
    "::/0",
    "2001:db8:a::3/128",
    "2001:db8:a::/64",
    "2001:db8::/32",
    "fe80::/10",
    "fe80::2/128",
];

/// Prefixes of leak routes, which are the addresses of services that list none. Main addresses only.
const ROUTES: [&str; 6] = [
    "192.0.2.0/24",
    "192.0.2.7/32",
    "203.0.113.0/24",
    "2001:db8:1::/64",
    "2001:db8:2::/64",
    "2001:db8:3::/64",
];

/// What the leaks of a VRF say of packets that no service lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    Audit,
    /// No leak names the VRF.
    Unnamed,
}

/// A service of a leak.
#[derive(Clone, Debug)]
pub struct Service {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
    /// Where it is open.
    pub addresses: Vec<Prefix>,
    /// Whether they come from the leak's routes and are not written.
    by_routes: bool,
    /// To whom; empty means to everybody.
    pub sources: Vec<Prefix>,
    /// Which of the VRF's leaks it is in.
    leak: usize,
}

/// The leaks of a VRF.
#[derive(Debug)]
pub struct Policy {
    pub mode: Mode,
    routes: Vec<Prefix>,
    pub services: Vec<Service>,
}

/// The leaks of all VRFs, in the order of [`VRFS`].
#[derive(Debug)]
pub struct Rules([Policy; VRFS.len()]);

impl Rules {
    /// Two VRFs are enforced, one is audited, and one is named by no leak: which, is random.
    pub fn random(random: &mut Rng) -> Self {
        let mut modes = [Mode::Enforce, Mode::Enforce, Mode::Audit, Mode::Unnamed];
        random.shuffle(&mut modes);
        Self(modes.map(|mode| Policy::random(random, mode)))
    }

    pub fn of(&self, vrf: usize) -> &Policy {
        &self.0[vrf]
    }
}

impl Policy {
    fn random(random: &mut Rng, mode: Mode) -> Self {
        let mut policy = Self {
            mode,
            routes: Vec::new(),
            services: Vec::new(),
        };
        if mode == Mode::Unnamed {
            return policy;
        }
        if random.bool() {
            policy.routes = some_of(random, &ROUTES)
                .into_iter()
                .map(Prefix::new)
                .collect();
        }
        // Enough that most ports of most addresses have one. What finds no place is left out.
        for number in 0..40 {
            // Both leaks of a VRF open something, and each protocol is in use, or its sysctl would stay 0.
            let protocol = [Protocol::Tcp, Protocol::Udp][number % 2];
            let mut service = Service::random(random, protocol, number / 2 % 2, &policy.routes);
            if number == 0 {
                // Otherwise rare, because it has to be listed on purpose.
                service.addresses = ON_PURPOSE.map(Prefix::new).into();
                service.by_routes = false;
                service.sources.clear();
            }
            if policy
                .services
                .iter()
                .all(|other| !service.clashes_with(other))
            {
                policy.services.push(service);
            }
        }
        policy
    }
}

impl Service {
    fn random(random: &mut Rng, protocol: Protocol, leak: usize, routes: &[Prefix]) -> Self {
        let first = one_of(random, &PORTS);
        // The second leak of a VRF has no routes: the first has them.
        let by_routes = leak == 0 && !routes.is_empty() && random.u8(..4) == 0;
        let mut service = Self {
            protocol,
            first,
            last: first + random.u16(..4),
            addresses: routes.to_vec(),
            by_routes,
            sources: Vec::new(),
            leak,
        };
        if !by_routes {
            service.addresses = some_of(random, &ADDRESSES)
                .into_iter()
                .map(Prefix::new)
                .collect();
        }
        if random.bool() {
            service.sources = some_of(random, &SOURCES)
                .into_iter()
                .map(Prefix::new)
                .collect();
            // "A service whose sources and addresses have no family in common is refused."
            let meets = |source: &Prefix| {
                let mut addresses = service.addresses.iter();
                addresses.any(|address| address.is_ipv4() == source.is_ipv4())
            };
            if !service.sources.iter().any(meets) {
                service.sources.clear();
            }
        }
        service
    }

    /// "Two services may not open the same port of the same address", whomever they open it to.
    fn clashes_with(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.first <= other.last
            && other.first <= self.last
            && self.addresses.iter().any(|mine| {
                let mut theirs = other.addresses.iter();
                theirs.any(|theirs| mine.clashes_with(*theirs))
            })
    }
}

/// As a file of leaks.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(policies) = self;
        for (vrf, policy) in VRFS.into_iter().zip(policies) {
            for leak in 0..2 {
                let Some(services) = policy.written(leak) else {
                    continue;
                };
                let mode = match policy.mode {
                    Mode::Audit => "Audit",
                    Mode::Enforce | Mode::Unnamed => "Enforce",
                };
                let routes = if leak == 0 {
                    list(&policy.routes, |prefix| format!("{{prefix: \"{prefix}\"}}"))
                } else {
                    String::new()
                };
                write!(
                    f,
                    "---\n\
                     apiVersion: vrfgate.dev/v1alpha1\n\
                     kind: VrfLeak\n\
                     metadata: {{name: {}-{leak}}}\n\
                     spec:\n  vrf: {vrf}\n  mode: {mode}\n  routes: [{routes}]\n  services:\n{services}",
                    vrf.to_lowercase(),
                )?;
            }
        }
        Ok(())
    }
}

impl Policy {
    /// The services of one of the VRF's leaks; `None` where there is no such leak.
    fn written(&self, leak: usize) -> Option<String> {
        let mut services = String::new();
        for (number, service) in self.services.iter().enumerate() {
            if service.leak != leak {
                continue;
            }
            let Service {
                protocol,
                first,
                last,
                addresses,
                by_routes,
                sources,
                leak: _,
            } = service;
            let quoted = |prefix: &Prefix| format!("\"{prefix}\"");
            write!(
                services,
                "    - {{name: s{number}, protocol: {protocol}, port: {first}, endPort: {last}"
            )
            .ok()?;
            if !by_routes {
                write!(services, ", addresses: [{}]", list(addresses, quoted)).ok()?;
            }
            if !sources.is_empty() {
                write!(services, ", sources: [{}]", list(sources, quoted)).ok()?;
            }
            services += "}\n";
        }
        (!services.is_empty()).then_some(services)
    }
}

fn list(prefixes: &[Prefix], written: impl Fn(&Prefix) -> String) -> String {
    prefixes.iter().map(written).collect::<Vec<_>>().join(", ")
}
