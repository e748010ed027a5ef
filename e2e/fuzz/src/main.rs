//! One of the targets under libFuzzer: the one that `FUZZ_TARGET` names.

#![no_main]

use std::{env, sync::LazyLock};

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    vrfgate_fuzz::target(&name).unwrap_or_else(|| {
        let names = vrfgate_fuzz::TARGETS.map(|(name, _)| name).join(", ");
        panic!("FUZZ_TARGET={name}: there are {names}")
    })
});

fuzz_target!(|data: &[u8]| TARGET(data));
