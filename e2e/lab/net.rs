//! The addresses that all tests use, once in IPv4 and once in IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use vrfgate_e2e::{Host, Lab};

/// One address family's part of the plan of addresses.
#[derive(Debug)]
pub struct Net {
    /// `ipv4` or `ipv6`, for test names.
    pub name: &'static str,
    /// The address on `lan`, in the router's main routing domain.
    pub main: IpAddr,
    /// The prefix of `lan`.
    pub main_prefix: &'static str,
    /// The router's own address inside a VRF.
    pub router: IpAddr,
    /// The client behind it.
    pub client: IpAddr,
    /// The prefix that both are in.
    pub clients: &'static str,
    /// The address of a wildcard socket.
    pub any: IpAddr,
    /// Length of all prefixes.
    length: u8,
}

/// IPv4.
pub const V4: Net = Net {
    name: "ipv4",
    main: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    main_prefix: "192.0.2.0/24",
    router: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    client: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    clients: "10.0.0.0/24",
    any: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    length: 24,
};

/// IPv6.
pub const V6: Net = Net {
    name: "ipv6",
    main: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
    main_prefix: "2001:db8:1::/64",
    router: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1)),
    client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 2)),
    clients: "2001:db8:a::/64",
    any: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    length: 64,
};

impl Net {
    /// A port of the main address.
    pub fn main(&self, port: u16) -> SocketAddr {
        (self.main, port).into()
    }

    /// A port of the router's address inside the VRF.
    pub fn router(&self, port: u16) -> SocketAddr {
        (self.router, port).into()
    }

    /// A port of the client.
    pub fn client(&self, port: u16) -> SocketAddr {
        (self.client, port).into()
    }

    /// A port of a wildcard socket of this family.
    pub fn any(&self, port: u16) -> SocketAddr {
        (self.any, port).into()
    }

    /// The prefix that holds nothing but the main address.
    pub fn main_alone(&self) -> String {
        format!(
            "{}/{}",
            self.main,
            if self.main.is_ipv4() { 32 } else { 128 }
        )
    }

    /// The router's address with its length, as ip(8) wants it.
    pub fn router_cidr(&self) -> String {
        format!("{}/{}", self.router, self.length)
    }

    /// The client's address with its length.
    pub fn client_cidr(&self) -> String {
        format!("{}/{}", self.client, self.length)
    }

    /// Gives `lan` one more address, the `last` of its prefix.
    pub fn add_main_address(&self, lab: &Lab, last: u8) -> IpAddr {
        self.add_address(lab, self.main, last, "lan")
    }

    /// Gives a client one more address.
    pub fn add_client_address(&self, client: &Host, last: u8) -> IpAddr {
        self.add_address(client, self.client, last, "eth0")
    }

    fn add_address(&self, host: &Host, beside: IpAddr, last: u8, device: &str) -> IpAddr {
        let address = sibling(beside, last);
        let flags = if address.is_ipv4() { "" } else { "nodad" };
        host.ip(&format!(
            "address add {address}/{} dev {device} {flags}",
            self.length
        ));
        address
    }

    /// The unicast leak route into a VRF's table, as an administrator would make it.
    pub fn leak_route(&self, table: u32) -> String {
        let scope = if self.main.is_ipv4() {
            "scope host"
        } else {
            ""
        };
        format!(
            "route add {} dev lan {scope} table {table}",
            self.main_prefix
        )
    }

    /// The return route into a VRF that gives answers the main address as their source.
    pub fn return_route(&self, vrf: &str) -> String {
        format!("route add {} dev {vrf} src {}", self.clients, self.main)
    }

    /// Length of an address.
    pub fn bits(&self) -> u8 {
        if self.main.is_ipv4() { 32 } else { 128 }
    }

    /// An address of this family that a test has written down.
    #[track_caller]
    pub fn parse(&self, address: &str) -> IpAddr {
        let parsed = address.parse::<IpAddr>();
        parsed
            .ok()
            .filter(|address| address.is_ipv4() == self.main.is_ipv4())
            .unwrap_or_else(|| panic!("{address:?} is no {} address", self.name))
    }

    /// The option of ip(8) for the family. A line of a batch can't have it; see [`Host::ip_shows`].
    pub fn family(&self) -> &'static str {
        if self.main.is_ipv4() { "-4" } else { "-6" }
    }

    /// The order of policy rules that guides to VRFs advise: the VRF's own table before the one of local
    /// addresses.
    pub fn put_local_table_last(&self, lab: &Lab) {
        for command in ["add pref 32765 lookup local", "del pref 0"] {
            let _ = lab.ip_shows(&format!("{} rule {command}", self.family()));
        }
    }

    /// What it takes to isolate VRFs: their own tables are asked first, and the first of them knows an end.
    pub fn isolate(&self, lab: &Lab) {
        self.put_local_table_last(lab);
        lab.ip("route add unreachable default table 10\nroute add unreachable ::/0 table 10");
    }

    /// The topology of most tests: a router, VRF BLUE with a leak route, and a client behind it.
    pub fn one_vrf(&self) -> (Lab, Host) {
        let lab = Lab::new();
        let blue = lab.vrf("BLUE");
        let table = blue.table();
        let client = blue
            .slave("blue1", &self.router_cidr())
            .client(&self.client_cidr());
        lab.ip(&self.leak_route(table));
        (lab, client)
    }
}

/// Has a transparent proxy on 127.0.0.1:3128 take what comes in by a device for TCP port 8080, whomever it is for.
pub fn proxy_what_comes_in_by(lab: &Lab, device: &str) {
    lab.nft(&format!(
        "table ip theirs {{
            chain in {{
                type filter hook prerouting priority mangle;
                iifname \"{device}\" tcp dport 8080 tproxy to 127.0.0.1:3128 meta mark set 1 accept
            }}
        }}"
    ));
    lab.ip(&format!(
        "rule add pref 10 fwmark 1 lookup 100\n\
         route add local 0.0.0.0/0 dev lo table 100\n\
         route add {} dev BLUE",
        V4.clients
    ));
}

/// What [`Host::routing`] shows.
pub fn routing(lab: &Lab) -> String {
    lab.routing()
}

/// The same address with another last byte.
fn sibling(address: IpAddr, last: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mut octets = address.octets();
            octets[3] = last;
            octets.into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[15] = last;
            octets.into()
        }
    }
}
