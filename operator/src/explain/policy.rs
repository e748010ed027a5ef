//! The policy database (`ip rule`): which of its rules a packet of a VRF meets.

use std::{fmt, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;
use vrfgate_ebpf::Protocol;

use super::{
    Question,
    facts::{Vrf, table_name},
};

/// A rule, as far as it concerns packets that come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// `pref`: lower ones first.
    pub preference: u32,
    /// `not`: the selectors are turned round.
    pub inverted: bool,
    /// `from`
    pub from: Option<IpNet>,
    /// `to`
    pub to: Option<IpNet>,
    /// `iif`
    pub input: Option<String>,
    /// `oif`: never met by a packet that comes in from outside.
    pub output: Option<String>,
    /// `fwmark`, and its mask.
    pub mark: Option<(u32, u32)>,
    /// `tos`, `uidrange`, `tun_id`: selectors of which nothing is known here.
    pub special: bool,
    /// `ipproto`
    pub protocol: Option<u8>,
    /// `sport`: the client's port, which is not known.
    pub client_ports: bool,
    /// `dport`
    pub ports: Option<RangeInclusive<u16>>,
    /// What it does.
    pub action: RuleAction,
}

/// What a rule does with a packet it is met by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleAction {
    /// Looks into a table.
    Table(u32),
    /// Looks into the table of the packet's VRF (`l3mdev`).
    L3mdev,
    /// Answers "unreachable".
    Unreachable,
    /// Answers "prohibited".
    Prohibit,
    /// Drops the packet.
    Blackhole,
    /// Nothing of interest here: `goto`, `nop`.
    #[default]
    Other,
}

/// Number of the table of local addresses.
pub(super) const LOCAL_TABLE: u32 = 255;

impl PolicyRule {
    /// The table it has the packet looked up in.
    pub(super) fn table(&self, vrf: Vrf<'_>) -> Option<u32> {
        match self.action {
            RuleAction::Table(table) => Some(table),
            RuleAction::L3mdev => Some(vrf.table),
            _ => None,
        }
    }

    /// Whether the packet meets it.
    pub(super) fn matches(&self, question: &Question, vrf: Vrf<'_>) -> bool {
        let Self {
            preference: _,
            inverted,
            from,
            to,
            input,
            output,
            mark,
            special,
            protocol,
            client_ports,
            ports,
            action: _,
        } = self;
        let inside =
            |net: &Option<IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        // The kernel has put the VRF in the place of the slave by now. What this host sends comes in by `lo`.
        let (way_in, way_out) = if vrf.local_client {
            ("lo", Some(&vrf.link.name))
        } else {
            (vrf.link.name.as_str(), None)
        };
        let met = inside(from, question.from)
            && inside(to, question.to.ip())
            && input.as_ref().is_none_or(|input| input == way_in)
            && output.as_ref().is_none_or(|output| Some(output) == way_out)
            // Nobody has marked this packet, as far as is known.
            && mark.is_none_or(|(mark, mask)| mark & mask == 0)
            && !special
            && protocol.is_none_or(|number| number == question.protocol.number())
            && !client_ports
            && ports
                .as_ref()
                .is_none_or(|ports| ports.contains(&question.to.port()));
        met != *inverted
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            preference,
            inverted,
            from,
            to,
            input,
            output,
            mark,
            special: _,
            protocol,
            client_ports: _,
            ports,
            action,
        } = self;
        write!(f, "{preference}: ")?;
        if *inverted {
            f.write_str("not ")?;
        }
        match from {
            Some(from) => write!(f, "from {from}")?,
            None => f.write_str("from all")?,
        }
        if let Some(to) = to {
            write!(f, " to {to}")?;
        }
        if let Some(input) = input {
            write!(f, " iif {input}")?;
        }
        if let Some(output) = output {
            write!(f, " oif {output}")?;
        }
        if let Some((mark, mask)) = mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        match protocol.map(|number| (number, Protocol::from_number(number))) {
            Some((_, Some(protocol))) => write!(f, " ipproto {protocol}")?,
            Some((number, None)) => write!(f, " ipproto {number}")?,
            None => {}
        }
        if let Some(ports) = ports {
            write!(f, " dport {}-{}", ports.start(), ports.end())?;
        }
        match action {
            RuleAction::Table(table) => write!(f, " lookup {}", table_name(*table)),
            RuleAction::L3mdev => f.write_str(" lookup [l3mdev-table]"),
            RuleAction::Unreachable => f.write_str(" unreachable"),
            RuleAction::Prohibit => f.write_str(" prohibit"),
            RuleAction::Blackhole => f.write_str(" blackhole"),
            RuleAction::Other => Ok(()),
        }
    }
}

/// The rule whose table gave the answer: the first that the packet meets and that looks into it.
pub(super) fn deciding<'a>(
    rules: &'a [PolicyRule],
    question: &Question,
    vrf: Vrf<'_>,
    table: u32,
) -> Option<&'a PolicyRule> {
    rules
        .iter()
        .filter(|rule| rule.matches(question, vrf))
        .find(|rule| rule.table(vrf) == Some(table))
}

/// Whether the table of local addresses is asked before the VRF's own.
pub(super) fn local_first(rules: &[PolicyRule], question: &Question, vrf: Vrf<'_>) -> bool {
    rules
        .iter()
        .filter(|rule| rule.matches(question, vrf))
        .find_map(|rule| match rule.action {
            RuleAction::L3mdev => Some(false),
            RuleAction::Table(LOCAL_TABLE) => Some(true),
            _ => None,
        })
        .unwrap_or(false)
}
