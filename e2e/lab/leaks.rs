//! Leaks, as users write them.

use crate::net::Net;

/// A document of a file of leaks. `spec` is what follows `vrf:` in YAML's flow style.
pub fn leak(vrf: &str, spec: &str) -> String {
    format!(
        "---\n\
         apiVersion: vrfgate.dev/v1alpha1\n\
         kind: VrfLeak\n\
         metadata: {{name: {name}}}\n\
         spec: {{vrf: {vrf}, {spec}}}\n",
        name = vrf.to_lowercase()
    )
}

/// A leak that opens TCP ports of the main address, and nothing else.
pub fn open_tcp(vrf: &str, net: &Net, ports: &[u16]) -> String {
    let services: Vec<String> = ports
        .iter()
        .map(|port| service(net, "TCP", *port))
        .collect();
    leak(vrf, &format!("services: [{}]", services.join(", ")))
}

/// A service on a port of the main address.
pub fn service(net: &Net, protocol: &str, port: u16) -> String {
    format!(
        "{{name: {name}-{port}, protocol: {protocol}, port: {port}, addresses: [\"{address}\"]}}",
        name = protocol.to_lowercase(),
        address = net.main_alone(),
    )
}
