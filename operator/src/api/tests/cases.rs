//! Bad `VrfLeak`s, one mistake a row. Two tests read them: one of files here, and one that sends them to a
//! real API server, because both shall refuse the same.

/// The fields of `spec` in YAML's flow style, the field that is to blame, and what must be said of it here.
pub struct Row(pub &'static str, pub &'static str, pub &'static str);

/// What the API server refuses, too.
#[allow(dead_code)] // Read by the test with the API server only.
pub const REFUSED_BY_THE_API_SERVER: &[&[Row]] = &[
    VRF_NAMES,
    WORDS,
    UNKNOWN_FIELDS,
    ROUTES,
    RETURN_ROUTES,
    SERVICES,
    PREFIXES,
];

/// What its rules can't tell: see `api/rules.rs`.
#[allow(dead_code)]
pub const BEYOND_THE_API_SERVER: &[&[Row]] = &[UNUSUAL_DEVICE_NAMES, OVERLAPS];

/// `spec.vrf`.
pub const VRF_NAMES: &[Row] = &[
    Row("mode: Audit", "spec.vrf", "is required"),
    Row("vrf: ''", "spec.vrf", "must not be empty"),
    Row(
        "vrf: SIXTEEN-BYTES-16",
        "spec.vrf",
        "is 16 bytes long; at most 15",
    ),
    Row("vrf: äöüäöüäö", "spec.vrf", "is 16 bytes long; at most 15"),
    Row("vrf: a/b", "spec.vrf", "contains '/'"),
    Row("vrf: 'a:b'", "spec.vrf", "contains ':'"),
    Row("vrf: 'a b'", "spec.vrf", "contains ' '"),
    Row("vrf: \"a\\tb\"", "spec.vrf", "contains '\\t'"),
    Row("vrf: ..", "spec.vrf", "cannot name a network device"),
    Row("vrf: 10", "spec.vrf", "must be text; write \"10\""),
    Row("vrf: true", "spec.vrf", "must be text; write \"true\""),
    Row("vrf: [BLUE]", "spec.vrf", "must be text, not a list"),
    Row("vrf:", "spec.vrf", "is empty, must be text"),
];

/// Fields that take one of a few words.
pub const WORDS: &[Row] = &[
    Row(
        "vrf: BLUE, mode: audit",
        "spec.mode",
        "\"audit\" must be written Audit",
    ),
    Row(
        "vrf: BLUE, mode: Off",
        "spec.mode",
        "must be Enforce or Audit",
    ),
    Row(
        "vrf: BLUE, mode: {}",
        "spec.mode",
        "must be text, not an object",
    ),
    Row(
        "vrf: BLUE, replies: steer",
        "spec.replies",
        "must be written Steer",
    ),
    Row(
        "vrf: BLUE, replies: None",
        "spec.replies",
        "must be Route or Steer",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: tcp, port: 1, addresses: [192.0.2.1/32]}]",
        "spec.services[0].protocol",
        "\"tcp\" must be written TCP",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: SCTP, port: 1, addresses: [192.0.2.1/32]}]",
        "spec.services[0].protocol",
        "must be TCP or UDP",
    ),
];

/// Fields that nobody knows.
pub const UNKNOWN_FIELDS: &[Row] = &[
    Row(
        "vrf: BLUE, service: []",
        "spec.service",
        "unknown field, expected one of mode, nodeSelector, pods, replies, returnRoutes, routes, services, vrf",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], prot: 1}]",
        "spec.services[0].prot",
        "unknown field, expected one of addresses, endPort, name, port, protocol, serviceRef, sources",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, dev: lan}]",
        "spec.routes[0].dev",
        "unknown field, expected one of device, metric, prefix",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1, src: x}]",
        "spec.returnRoutes[0].src",
        "unknown field, expected one of prefix, source",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchLabel: {}}",
        "spec.nodeSelector.matchLabel",
        "unknown field, expected one of matchExpressions, matchLabels",
    ),
];

/// `spec.routes`.
pub const ROUTES: &[Row] = &[
    Row(
        "vrf: BLUE, routes: 192.0.2.0/24",
        "spec.routes",
        "must be a list, not the text",
    ),
    Row(
        "vrf: BLUE, routes: [192.0.2.0/24]",
        "spec.routes[0]",
        "must be an object",
    ),
    Row(
        "vrf: BLUE, routes: [{device: lan}]",
        "spec.routes[0].prefix",
        "is required",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: lan}]",
        "spec.routes[0].prefix",
        "\"lan\" is not a prefix",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/33}]",
        "spec.routes[0].prefix",
        "is not a prefix",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.1}]",
        "spec.routes[0].prefix",
        "write 192.0.2.1/32",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: '2001:db8::1'}]",
        "spec.routes[0].prefix",
        "write 2001:db8::1/128",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.1/24}]",
        "spec.routes[0].prefix",
        "192.0.2.1/24 has host bits set; write 192.0.2.0/24 or 192.0.2.1/32",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: '2001:db8::1/64'}]",
        "spec.routes[0].prefix",
        "write 2001:db8::/64 or 2001:db8::1/128",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, device: a b}]",
        "spec.routes[0].device",
        "contains ' '",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, device: BLUE}]",
        "spec.routes[0].device",
        "is the VRF that the route leads out of",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, metric: -1}]",
        "spec.routes[0].metric",
        "-1 is not a route metric (0-4294967295)",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, metric: 4294967296}]",
        "spec.routes[0].metric",
        "is not a route metric",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}, {prefix: 192.0.2.0/24, device: lan}]",
        "spec.routes[1].prefix",
        "192.0.2.0/24 is there already, at spec.routes[0].prefix",
    ),
];

/// `spec.returnRoutes`.
pub const RETURN_ROUTES: &[Row] = &[
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24}]",
        "spec.returnRoutes[0].source",
        "is required",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1/32}]",
        "spec.returnRoutes[0].source",
        "192.0.2.1/32 is a prefix",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: lan}]",
        "spec.returnRoutes[0].source",
        "\"lan\" is not an IP address",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: '2001:db8::1'}]",
        "spec.returnRoutes[0].source",
        "2001:db8::1 is not of the address family of 10.0.0.0/24",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: '::ffff:192.0.2.1'}]",
        "spec.returnRoutes[0].source",
        "write 192.0.2.1",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 0.0.0.0}]",
        "spec.returnRoutes[0].source",
        "no server can answer from 0.0.0.0",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/8, source: 192.0.2.1}, {prefix: 10.0.0.0/8, source: 192.0.2.2}]",
        "spec.returnRoutes[1].prefix",
        "10.0.0.0/8 is there already, at spec.returnRoutes[0].prefix",
    ),
    Row(
        "vrf: BLUE, replies: Steer, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1}]",
        "spec.returnRoutes",
        "are of no use with replies: Steer",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: '2001:db8:1::/64', source: '2001:db8::0:1'}]",
        "spec.returnRoutes[0].source",
        "write 2001:db8::1",
    ),
];

/// Names, protocols and ports of services.
pub const SERVICES: &[Row] = &[
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{protocol: TCP, port: 22}]",
        "spec.services[0].name",
        "is required",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: '', protocol: TCP, port: 22}]",
        "spec.services[0].name",
        "must not be empty",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: Ssh, protocol: TCP, port: 22}]",
        "spec.services[0].name",
        "lower-case",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh-, protocol: TCP, port: 22}]",
        "spec.services[0].name",
        "at both ends",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, port: 22}]",
        "spec.services[0].protocol",
        "is required: TCP or UDP",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP}]",
        "spec.services[0].port",
        "is required without serviceRef",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: 70000}]",
        "spec.services[0].port",
        "70000 is not a port (1-65535)",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: -1}]",
        "spec.services[0].port",
        "-1 is not a port (1-65535)",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: 0}]",
        "spec.services[0].port",
        "every port is port: 1, endPort: 65535",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: ssh}]",
        "spec.services[0].port",
        "must be an integer, not the text \"ssh\"",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: 22.5}]",
        "spec.services[0].port",
        "must be an integer",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: 18446744073709551615}]",
        "spec.services[0].port",
        "18446744073709551615",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, endPort: 22}]",
        "spec.services[0].endPort",
        "needs port",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: 22, endPort: 21}]",
        "spec.services[0].endPort",
        "21 is below port 22",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [{name: ssh, protocol: TCP, port: 22, endPort: 65536}]",
        "spec.services[0].endPort",
        "65536 is not a port",
    ),
    Row(
        "vrf: BLUE, services: [
                {name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32]},
                {name: a, protocol: TCP, port: 2, addresses: [192.0.2.1/32]}]",
        "spec.services[1].name",
        "a is there already, at spec.services[0].name",
    ),
];

/// Prefixes of services.
pub const PREFIXES: &[Row] = &[
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1}]",
        "spec.services[0].addresses",
        "is required, because spec.routes is empty",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1]}]",
        "spec.services[0].addresses[0]",
        "write 192.0.2.1/32",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: ['::ffff:192.0.2.0/120']}]",
        "spec.services[0].addresses[0]",
        "is an IPv4 address in IPv6 notation; write 192.0.2.0/24",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [224.0.0.0/4]}]",
        "spec.services[0].addresses[0]",
        "is multicast",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [0.0.0.0/32]}]",
        "spec.services[0].addresses[0]",
        "write 0.0.0.0/0",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: ['::/128']}]",
        "spec.services[0].addresses[0]",
        "write ::/0",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32, 192.0.2.1/32]}]",
        "spec.services[0].addresses[1]",
        "is there already, at spec.services[0].addresses[0]",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], sources: [10.1.1.1/8]}]",
        "spec.services[0].sources[0]",
        "write 10.0.0.0/8 or 10.1.1.1/32",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], sources: [5]}]",
        "spec.services[0].sources[0]",
        "must be text",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: '2001:DB8::/32'}]",
        "spec.routes[0].prefix",
        "is written in an unusual form; write 2001:db8::/32",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 010.0.0.0/8}]",
        "spec.routes[0].prefix",
        "write 10.0.0.0/8",
    ),
];

/// Names that the kernel refuses for a byte inside of a character.
pub const UNUSUAL_DEVICE_NAMES: &[Row] = &[Row("vrf: voilà", "spec.vrf", "contains 'à'")];

/// Services of one leak.
pub const OVERLAPS: &[Row] = &[
        Row(
            "vrf: BLUE, services: [
                {name: ssh, protocol: TCP, port: 22, addresses: [192.0.2.1/32]},
                {name: more, protocol: TCP, port: 1, endPort: 100, addresses: [198.51.100.0/24, 192.0.2.0/24]}]",
            "spec.services[1]",
            "opens 192.0.2.1/32 22/TCP, which spec.services[0] (ssh) opens already",
        ),
        Row(
            "vrf: BLUE, routes: [{prefix: '2001:db8::/32'}], services: [
                {name: all, protocol: UDP, port: 1, endPort: 65535},
                {name: dns, protocol: UDP, port: 53, endPort: 54, sources: ['2001:db8:1::/48']}]",
            "spec.services[1]",
            "opens 2001:db8::/32 53-54/UDP, which spec.services[0] (all) opens already",
        ),
];

/// Specs that are right, here and in a cluster.
pub const ACCEPTED: &[&str] = &[
    "vrf: BLUE",
    "vrf: FIFTEEN-BYTES15",
    "vrf: äöü, mode: Audit",
    "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, device: lan, metric: 4294967295}, {prefix: '2001:db8::/32'}]",
    "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1}, {prefix: '::/0', source: '2001:db8::1'}]",
    "vrf: BLUE, replies: Steer, services: [{name: dns, protocol: UDP, port: 53, addresses: [0.0.0.0/0, '::/0']}]",
    "vrf: BLUE, services: [{name: all, protocol: TCP, port: 1, endPort: 65535, addresses: [192.0.2.1/32]}]",
    "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [
        {name: ssh, protocol: TCP, port: 22, endPort: 22, sources: [10.0.0.0/8, '2001:db8::/32']},
        {name: ssh-udp, protocol: UDP, port: 22}]",
];
