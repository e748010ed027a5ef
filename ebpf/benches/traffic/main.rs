//! What traffic pays for the gate: new TCP connections, small datagrams and one busy stream between two namespaces,
//! without a program, with an empty one, and with the gate and its guard; and, where the kernel has VRFs, through one,
//! beside what people would use instead. `make bench-traffic`.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../kit/mod.rs"]
mod kit;
mod load;
mod net;
mod plain;
mod through_vrf;

use std::env;

fn main() {
    // In a VM whose clock counts instructions, only what no other kernel can measure is worth the time.
    let counting = env::var_os("INSTRUCTIONS").is_some();
    if !counting {
        plain::measure();
    }
    if net::has_vrfs() {
        through_vrf::measure(counting);
    } else {
        println!("this kernel has no VRFs: traffic through one is not measured on it");
    }
}
