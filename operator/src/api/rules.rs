//! What the API server checks of a `VrfLeak` beyond types, as CEL rules and patterns of its schema.
//!
//! [`validate`](super::validate) decides; these rules refuse the same as early as at `kubectl apply`. Two
//! mistakes only `validate` finds, and the controller reports them in the leak's status: services of one leak
//! that overlap, which costs too much in CEL, and device names whose UTF-8 form holds the byte 0xa0.

mod selector;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

pub use selector::Selector;

/// The longest prefix there is: eight groups of four digits, seven colons, `/128`.
const PREFIX_MAX: usize = 43;
/// The longest address.
const ADDRESS_MAX: usize = 39;
/// RFC 1123 label.
const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// The multicast ranges, as CEL; `{0}` is an IP.
macro_rules! is_multicast {
    ($ip:literal) => {
        concat!(
            "(cidr('224.0.0.0/4').containsIP(",
            $ip,
            ") || cidr('ff00::/8').containsIP(",
            $ip,
            "))"
        )
    };
}

/// Whether a prefix of each list is of the same family, as CEL. Only the text of IPv6 has colons.
macro_rules! share_a_family {
    ($one:literal, $prefix:literal, $other:literal, $other_prefix:literal, $item:literal) => {
        concat!(
            "(",
            $one,
            ".exists(",
            $prefix,
            ", ",
            $prefix,
            ".contains(':')) && ",
            $other,
            ".exists(",
            $item,
            ", ",
            $other_prefix,
            ".contains(':'))) || (",
            $one,
            ".exists(",
            $prefix,
            ", !",
            $prefix,
            ".contains(':')) && ",
            $other,
            ".exists(",
            $item,
            ", !",
            $other_prefix,
            ".contains(':')))"
        )
    };
}

/// Declares a type that is text to serde and has a schema of its own.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $schema:expr) => {
        $(#[$doc])*
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text! {
    /// A prefix of unicast addresses in its usual form.
    PrefixText,
    json_schema!({
        "type": "string",
        "maxLength": PREFIX_MAX,
        "x-kubernetes-validations": [
            {
                "rule": "isCIDR(self)",
                "message": "must be a prefix such as 192.0.2.0/24 or 2001:db8::/32; for one address, \
                            write its full length, as in 192.0.2.1/32",
            },
            {
                "rule": "!isCIDR(self) || string(cidr(self).masked()) == self",
                "message": "has host bits set, or is written in an unusual form; write it as in 192.0.2.0/24 or 2001:db8::/32",
            },
            {
                "rule": concat!("!isCIDR(self) || !", is_multicast!("cidr(self).ip()")),
                "message": "is multicast, which the gate never sees",
            },
            {
                "rule": "!isCIDR(self) || !cidr(self).ip().isUnspecified() || \
                         cidr(self).prefixLength() < (cidr(self).ip().family() == 4 ? 32 : 128)",
                "message": "is no host's address; write 0.0.0.0/0 or ::/0 for every address",
            },
        ],
    })
}

text! {
    /// An address that a server can answer from.
    SourceText,
    json_schema!({
        "type": "string",
        "maxLength": ADDRESS_MAX,
        "x-kubernetes-validations": [
            {
                "rule": "isIP(self)",
                "message": "must be one IP address of the node, such as 192.0.2.1",
            },
            {
                "rule": "!isIP(self) || string(ip(self)) == self",
                "message": "is written in an unusual form; write it as in 192.0.2.1 or 2001:db8::1",
            },
            {
                "rule": concat!(
                    "!isIP(self) || !(ip(self).isUnspecified() || ip(self).isLoopback() || ",
                    is_multicast!("ip(self)"),
                    ")"
                ),
                "message": "no server can answer from it",
            },
        ],
    })
}

/// What the kernel takes for the name of a device.
fn device_rules() -> Vec<Value> {
    vec![
        json!({
            "rule": "size(bytes(self)) <= 15",
            "message": "is more than 15 bytes long",
        }),
        json!({
            "rule": "self != 'lo'",
            "message": "lo is no VRF, and leads nowhere but back: local addresses get their routes without a device",
        }),
        json!({
            "rule": r"self != '.' && self != '..' && !self.matches('[/:\\x00\\x09-\\x0d ]')",
            "message": "is no name of a network device: the kernel refuses '/', ':', white space, '.' and '..'",
        }),
    ]
}

text! {
    /// Name of a network device.
    DeviceText,
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 15,
        "x-kubernetes-validations": device_rules(),
    })
}

text! {
    /// Name of the VRF that a leak is about, for as long as it lives.
    VrfText,
    {
        let mut rules = device_rules();
        rules.push(json!({
            "rule": "self == oldSelf",
            "message": "can't be changed; make another VrfLeak, then delete this one",
        }));
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 15,
            "x-kubernetes-validations": rules,
        })
    }
}

text! {
    /// RFC 1123 label.
    LabelText,
    json_schema!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": LABEL})
}

/// Rules of `spec` as a whole.
pub fn spec() -> Value {
    json!([
        {
            "rule": "self.replies != 'Steer' || !has(self.returnRoutes) || size(self.returnRoutes) == 0",
            "message": "returnRoutes are of no use with replies: Steer; remove them, or write replies: Route",
            "fieldPath": ".returnRoutes",
        },
        {
            "rule": "!has(self.routes) || self.routes.all(route, !has(route.device) || route.device != self.vrf)",
            "message": "device is the VRF that the route leads out of",
            "fieldPath": ".routes",
        },
        {
            "rule": "(has(self.routes) && size(self.routes) > 0) || !has(self.services) || \
                     self.services.all(service, has(service.serviceRef) || \
                     (has(service.addresses) && size(service.addresses) > 0))",
            "message": "addresses are required, because spec.routes is empty",
            "fieldPath": ".services",
        },
        {
            "rule": concat!(
                "!has(self.services) || !has(self.routes) || size(self.routes) == 0 || self.services.all(service, \
                 has(service.serviceRef) || (has(service.addresses) && size(service.addresses) > 0) || \
                 !has(service.sources) || size(service.sources) == 0 || ",
                share_a_family!("service.sources", "source", "self.routes", "route.prefix", "route"),
                ")"
            ),
            "message": "none of sources is of the address family of any of routes, so no client could use the service",
            "fieldPath": ".services",
        },
        {
            "rule": "!has(self.pods) || !has(self.nodeSelector)",
            "message": "must not stand beside pods: the pods that it selects may be on any node",
            "fieldPath": ".nodeSelector",
        },
        {
            "rule": "!has(self.pods) || !has(self.routes) || size(self.routes) == 0",
            "message": "must not stand beside pods, where nothing is routed: give each service its addresses",
            "fieldPath": ".routes",
        },
        {
            "rule": "!has(self.pods) || !has(self.returnRoutes) || size(self.returnRoutes) == 0",
            "message": "must not stand beside pods, where nothing is routed",
            "fieldPath": ".returnRoutes",
        },
        {
            "rule": "!has(self.pods) || self.replies != 'Steer'",
            "message": "Steer must not stand beside pods, where nothing is routed",
            "fieldPath": ".replies",
        },
        {
            "rule": "!has(self.pods) || !has(self.services) || \
                     self.services.all(service, !has(service.serviceRef))",
            "message": "serviceRef stands for ports of the node itself, and pods have their own: list port \
                        and protocol",
            "fieldPath": ".services",
        },
    ])
}

/// Rules of an entry of `spec.returnRoutes`.
pub fn return_route() -> Value {
    json!([
        {
            "rule": "!isCIDR(self.prefix) || !isIP(self.source) || \
                     cidr(self.prefix).ip().family() == ip(self.source).family()",
            "message": "source is not of the address family of prefix",
            "fieldPath": ".source",
        },
        {
            "rule": "!isCIDR(self.prefix) || !cidr(self.prefix).ip().isLoopback()",
            "message": "prefix is loopback, where no client is",
            "fieldPath": ".prefix",
        },
    ])
}

/// Rules of an entry of `spec.services`.
pub fn service() -> Value {
    json!([
        {
            "rule": "has(self.serviceRef) || has(self.protocol)",
            "message": "protocol is required without serviceRef: TCP or UDP",
            "fieldPath": ".protocol",
            "reason": "FieldValueRequired",
        },
        {
            "rule": "has(self.serviceRef) || has(self.port) || has(self.endPort)",
            "message": "port is required without serviceRef",
            "fieldPath": ".port",
            "reason": "FieldValueRequired",
        },
        {
            "rule": "!has(self.endPort) || has(self.port) || has(self.serviceRef)",
            "message": "endPort needs port, the first of the range",
            "fieldPath": ".endPort",
        },
        {
            "rule": "!has(self.endPort) || !has(self.port) || self.port <= self.endPort",
            "message": "endPort is below port, the first of the range",
            "fieldPath": ".endPort",
        },
        {
            "rule": concat!(
                "!has(self.sources) || size(self.sources) == 0 || !has(self.addresses) || \
                 size(self.addresses) == 0 || ",
                share_a_family!("self.sources", "source", "self.addresses", "address", "address")
            ),
            "message": "none is of the address family of any of addresses, so no client could use the service",
            "fieldPath": ".sources",
        },
        {
            "rule": "!has(self.serviceRef) || !(has(self.protocol) || has(self.port) || has(self.endPort) || \
                     (has(self.addresses) && size(self.addresses) > 0))",
            "message": "protocol, port, endPort and addresses must not stand beside serviceRef, which takes \
                        them from the Service's endpoints",
            "fieldPath": ".serviceRef",
        },
    ])
}
