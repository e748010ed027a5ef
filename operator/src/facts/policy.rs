//! The rules of the policy database (`ip rule`), as plain values.

use std::{fmt, ops::RangeInclusive};

use ipnet::IpNet;
use vrfgate_core::Protocol;

/// A rule, as far as it concerns packets that come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// `pref`: lower ones first.
    pub preference: u32,
    /// `not`: the selectors are inverted.
    pub inverted: bool,
    /// `from`
    pub from: Option<IpNet>,
    /// `to`
    pub to: Option<IpNet>,
    /// `iif`
    pub input: Option<String>,
    /// `oif`: never matches a packet that comes in from outside.
    pub output: Option<String>,
    /// `fwmark`, and its mask.
    pub mark: Option<(u32, u32)>,
    /// `tos`, `uidrange`, `tun_id`: selectors that can't be judged here.
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

/// What a rule does with a packet that it matches.
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
pub(crate) const LOCAL_TABLE: u32 = 255;

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

/// Name or number of a table: the kernel's own tables have names.
pub(crate) fn table_name(table: u32) -> String {
    match table {
        255 => "local".to_owned(),
        254 => "main".to_owned(),
        253 => "default".to_owned(),
        number => number.to_string(),
    }
}
