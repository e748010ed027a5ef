//! Names, ports and prefixes, in the only forms the rest of the plugin accepts: those of a `VrfLeak`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// `IFNAMSIZ` of `<linux/if.h>` less its terminating NUL.
const DEVICE_NAME_MAX: usize = 15;
/// RFC 1123 label.
const LABEL_MAX: usize = 63;

/// Addresses that only a prefix which lies wholly inside one of these ranges means, as in a `VrfLeak`: loopback (with the
/// unspecified address beside it) and link-local ones, which never leave the host or the link; and multicast, which is
/// no host's.
const ON_PURPOSE: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 127)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
    )),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
    )),
];

/// Declares a type that exists only if its text is accepted.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text! {
    /// Name of a VRF device. The device need not exist, nor be a VRF if it does.
    VrfName, check_device
}
text! {
    /// Name of a service within its configuration: an RFC 1123 label.
    ServiceName, check_label
}

/// What the kernel takes for the name of a device (`dev_valid_name`).
pub(crate) fn check_device(name: &str) -> Result<(), String> {
    // It judges bytes, and its `isspace` counts 0xa0.
    let refused = |byte: u8| matches!(byte, 0 | b'/' | b':' | b' ' | 0x09..=0x0d | 0xa0);
    if name.is_empty() || name.len() > DEVICE_NAME_MAX {
        Err(format!(
            "{name:?} is {} bytes long; names of devices have 1 to {DEVICE_NAME_MAX}",
            name.len()
        ))
    } else if matches!(name, "." | "..") || name.bytes().any(refused) {
        Err(format!(
            "{name:?} can't name a network device: the kernel refuses '/', ':', white space, '.' and '..'"
        ))
    } else {
        Ok(())
    }
}

fn check_label(name: &str) -> Result<(), String> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let fine = (1..=LABEL_MAX).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fine {
        Ok(())
    } else {
        Err(format!(
            "{name:?} must be 1 to {LABEL_MAX} lower-case letters, digits and '-', with a letter or digit at both ends"
        ))
    }
}

/// A port, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct Port(NonZeroU16);

impl Port {
    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<i64> for Port {
    type Error = String;

    fn try_from(port: i64) -> Result<Self, String> {
        let hint = if port == 0 {
            "; every port is port: 1, endPort: 65535"
        } else {
            ""
        };
        u16::try_from(port)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or_else(|| format!("{port} is not a port (1-65535){hint}"))
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A prefix of unicast addresses, without host bits and in its usual form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNet);

impl Prefix {
    /// Whether who wrote the prefix means `address` by it: one of [`ON_PURPOSE`] is meant only by a prefix that lies
    /// wholly among them.
    #[must_use]
    pub fn means(self, address: IpAddr) -> bool {
        self.0.contains(&address) && (self.is_on_purpose() || !is_on_purpose(address))
    }

    /// The family of its addresses.
    pub(super) fn is_ipv4(self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether both mean an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let nested = self.0.contains(&other.0) || other.0.contains(&self.0);
        nested && self.is_on_purpose() == other.is_on_purpose()
    }

    /// Whether the prefix lies wholly inside one of [`ON_PURPOSE`].
    pub(super) fn is_on_purpose(self) -> bool {
        ON_PURPOSE.iter().any(|range| range.contains(&self.0))
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let host = IpNet::from(address);
            return Err(format!(
                "{address} is an address, not a prefix; write {host}"
            ));
        }
        let net: IpNet = text.parse().map_err(|_| {
            format!("{text:?} is not a prefix such as 192.0.2.0/24 or 2001:db8::/32")
        })?;
        let network = net.trunc();
        if net != network {
            let host = IpNet::from(net.addr());
            return Err(format!(
                "{net} has host bits set; write {network} or {host}"
            ));
        }
        let mapped = match net {
            IpNet::V6(net) => net.prefix_len() >= 96 && net.network().to_ipv4_mapped().is_some(),
            IpNet::V4(_) => false,
        };
        if mapped {
            Err(format!("{net} is an IPv4 prefix in IPv6 notation"))
        } else if net.network().is_multicast() {
            Err(format!("{net} is multicast, which the gate never sees"))
        } else if net == IpNet::from(net.network()) && net.network().is_unspecified() {
            Err(format!(
                "{net} is no host's address; write 0.0.0.0/0 or ::/0 for every address"
            ))
        } else if net.to_string() != text {
            Err(format!(
                "{text:?} is written in an unusual form; write {net}"
            ))
        } else {
            Ok(Self(net))
        }
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.0.to_string()
    }
}

impl From<Prefix> for IpNet {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether an address is opened only by a prefix that lies wholly among such addresses.
pub(crate) fn is_on_purpose(address: IpAddr) -> bool {
    Prefix(address.into()).is_on_purpose()
}
