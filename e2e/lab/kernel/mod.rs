//! What the kernel does without vrfgate: the facts its design rests on, a test each.

mod assign;
mod local;
mod looped;
mod ports;
mod proxy;
mod tcp;
mod udp;

use libtest_mimic::Trial;

/// All of them.
pub fn tests() -> Vec<Trial> {
    [
        assign::tests(),
        local::tests(),
        looped::tests(),
        ports::tests(),
        proxy::tests(),
        tcp::tests(),
        udp::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
