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
    FAMILIES,
];

/// What has a meaning in a cluster only, and is refused there by API server and controller alike.
#[allow(dead_code)]
pub const REFUSED_IN_A_CLUSTER: &[&[Row]] = &[SELECTORS, BESIDE_PODS, REFERENCES];

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
    Row("vrf: lo", "spec.vrf", "never a VRF"),
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
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, device: ''}]",
        "spec.routes[0].device",
        "must not be empty",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 0.0.0.0/0, device: lo}]",
        "spec.routes[0].device",
        "lo leads nowhere but back",
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
        "vrf: BLUE, returnRoutes: [{prefix: 10.0.0.0/24, source: 127.0.0.1}]",
        "spec.returnRoutes[0].source",
        "no server can answer from 127.0.0.1",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: '2001:db8::/32', source: '::1'}]",
        "spec.returnRoutes[0].source",
        "no server can answer from ::1",
    ),
    Row(
        "vrf: BLUE, returnRoutes: [{prefix: 127.0.0.0/8, source: 192.0.2.1}]",
        "spec.returnRoutes[0].prefix",
        "is loopback, where no client is",
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

/// Sources that no packet to any address of the service could have.
pub const FAMILIES: &[Row] = &[
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: [192.0.2.1/32], sources: ['2001:db8::/32']}]",
        "spec.services[0].sources",
        "none is of the address family of any of addresses",
    ),
    Row(
        "vrf: BLUE, services: [{name: a, protocol: TCP, port: 1, addresses: ['2001:db8::1/128', '2001:db8::2/128'],
                                sources: [10.0.0.0/8, 0.0.0.0/0]}]",
        "spec.services[0].sources",
        "none is of the address family of any of addresses",
    ),
    Row(
        "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}, {prefix: 198.51.100.0/24}], services: [
            {name: a, protocol: TCP, port: 1}, {name: b, protocol: TCP, port: 2, sources: ['2001:db8::/32']}]",
        "spec.services[1].sources",
        "none is of the address family of any of routes",
    ),
];

/// Selectors that nothing can evaluate.
pub const SELECTORS: &[Row] = &[
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: role, operator: Foo, values: [edge]}]}",
        "spec.nodeSelector.matchExpressions[0].operator",
        "\"Foo\" must be In, NotIn, Exists or DoesNotExist",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: role, operator: ''}]}",
        "spec.nodeSelector.matchExpressions[0].operator",
        "must be In, NotIn, Exists or DoesNotExist",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: a, operator: Exists}, {key: role, operator: In}]}",
        "spec.nodeSelector.matchExpressions[1].values",
        "is required by the operator In",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: role, operator: NotIn, values: []}]}",
        "spec.nodeSelector.matchExpressions[0].values",
        "is required by the operator NotIn",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: role, operator: Exists, values: [edge]}]}",
        "spec.nodeSelector.matchExpressions[0].values",
        "must be empty with the operator Exists",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: role, operator: DoesNotExist, values: ['']}]}",
        "spec.nodeSelector.matchExpressions[0].values",
        "must be empty with the operator DoesNotExist",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: 'a role', operator: Exists}]}",
        "spec.nodeSelector.matchExpressions[0].key",
        "\"a role\" is no key of a label",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: '', operator: Exists}]}",
        "spec.nodeSelector.matchExpressions[0].key",
        "is no key of a label",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: Example.org/role, operator: Exists}]}",
        "spec.nodeSelector.matchExpressions[0].key",
        "before the slash belong",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: example.org/a/b, operator: Exists}]}",
        "spec.nodeSelector.matchExpressions[0].key",
        "is no key of a label",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{operator: Exists,
         key: a234567890123456789012345678901234567890123456789012345678901234}]}",
        "spec.nodeSelector.matchExpressions[0].key",
        "write 1 to 63 letters",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchExpressions: [{key: role, operator: In, values: [edge, 'an edge']}]}",
        "spec.nodeSelector.matchExpressions[0].values[1]",
        "\"an edge\" is no value of a label",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchLabels: {'a role': edge}}",
        "spec.nodeSelector.matchLabels",
        "\"a role\" is no key of a label",
    ),
    Row(
        "vrf: BLUE, nodeSelector: {matchLabels: {role: -edge}}",
        "spec.nodeSelector.matchLabels.role",
        "\"-edge\" is no value of a label",
    ),
    Row(
        "vrf: BLUE, pods: {namespaceSelector: {matchExpressions: [{key: role, operator: Gt, values: ['1']}]}}",
        "spec.pods.namespaceSelector.matchExpressions[0].operator",
        "\"Gt\" must be",
    ),
    Row(
        "vrf: BLUE, pods: {podSelector: {matchLabels: {'app!': upf}}}",
        "spec.pods.podSelector.matchLabels",
        "\"app!\" is no key of a label",
    ),
];

/// What says nothing of pods.
pub const BESIDE_PODS: &[Row] = &[
    Row(
        "vrf: BLUE, pods: {}, nodeSelector: {matchLabels: {role: edge}}",
        "spec.nodeSelector",
        "must not stand beside pods",
    ),
    Row(
        "vrf: BLUE, pods: {podSelector: {}}, routes: [{prefix: 192.0.2.0/24}]",
        "spec.routes",
        "must not stand beside pods",
    ),
    Row(
        "vrf: BLUE, pods: {}, returnRoutes: [{prefix: 10.0.0.0/24, source: 192.0.2.1}]",
        "spec.returnRoutes",
        "must not stand beside pods",
    ),
    Row(
        "vrf: BLUE, pods: {}, replies: Steer",
        "spec.replies",
        "must not stand beside pods",
    ),
    Row(
        "vrf: BLUE, pods: {}, services: [{name: web, serviceRef: {namespace: web, name: frontend}}]",
        "spec.services",
        "pods have their own",
    ),
];

/// Services that can't be.
pub const REFERENCES: &[Row] = &[
    Row(
        "vrf: BLUE, services: [{name: web, serviceRef: {namespace: Web, name: frontend}}]",
        "spec.services[0].serviceRef.namespace",
        "lower-case",
    ),
    Row(
        "vrf: BLUE, services: [{name: web, serviceRef: {namespace: '', name: frontend}}]",
        "spec.services[0].serviceRef.namespace",
        "must not be empty",
    ),
    Row(
        "vrf: BLUE, services: [{name: web, serviceRef: {namespace: web, name: front.end}}]",
        "spec.services[0].serviceRef.name",
        "lower-case",
    ),
    Row(
        "vrf: BLUE, services: [{name: web, serviceRef: {namespace: web, name: frontend, ports: [http, HTTP_2]}}]",
        "spec.services[0].serviceRef.ports[1]",
        "lower-case",
    ),
    Row(
        "vrf: BLUE, services: [{name: web, serviceRef: {namespace: web, name: frontend, ports: [http, http]}}]",
        "spec.services[0].serviceRef.ports[1]",
        "is there already",
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
    "vrf: BLUE, routes: [{prefix: 192.0.2.0/24, metric: 0}], nodeSelector: {}",
    "vrf: BLUE, services: [
        {name: all, protocol: TCP, port: 22, addresses: [0.0.0.0/0, '::/0']},
        {name: own, protocol: TCP, port: 22, addresses: [127.0.0.0/8, 169.254.20.10/32, 'fe80::/10'],
         sources: ['fe80::/10']}]",
    "vrf: BLUE, routes: [{prefix: 192.0.2.0/24}], services: [
        {name: ssh, protocol: TCP, port: 22, endPort: 22, sources: [10.0.0.0/8, '2001:db8::/32']},
        {name: ssh-udp, protocol: UDP, port: 22}]",
];

/// Specs that are right in a cluster.
#[allow(dead_code)]
pub const ACCEPTED_IN_A_CLUSTER: &[&str] = &[
    "vrf: BLUE, services: [{name: web, serviceRef: {namespace: web, name: frontend, ports: [http]}}]",
    "vrf: BLUE, services: [{name: web, sources: [10.0.0.0/8], serviceRef: {namespace: web, name: 2nd}}]",
    "vrf: BLUE, nodeSelector: {matchLabels: {role: edge, example.org/Zone_a.b: ''},
     matchExpressions: [
        {key: a, operator: Exists}, {key: b, operator: DoesNotExist, values: []},
        {key: node-role.kubernetes.io/control-plane, operator: NotIn, values: ['', Yes_1.2-3]},
        {key: a23456789012345678901234567890123456789012345678901234567890123, operator: In, values: [
            a23456789012345678901234567890123456789012345678901234567890123]}]}",
    "vrf: BLUE, pods: {}, routes: [], returnRoutes: [], replies: Route",
    "vrf: BLUE, pods: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: tenant}}, podSelector: {}},
     services: [{name: a, protocol: TCP, port: 1, addresses: [0.0.0.0/0, '::/0']}]",
];
