//! For the fuzzer: somebody else's configuration list.

use super::{
    conflist::{Change, Conflist},
    entry::{ChainConfig, Entry},
};

/// A list, into which our entry is put and from which it is taken again: all else is as it was, to the byte.
pub fn conflist(bytes: &[u8]) {
    let Ok(list) = Conflist::parse(bytes) else {
        return;
    };
    let entry = Entry::new(&ChainConfig::default());
    let Ok(Change::Add(with)) = list.with(&entry) else {
        return;
    };
    let again = Conflist::parse(with.as_bytes());
    let again = again.unwrap_or_else(|why| panic!("what was written {why}: {with}"));
    assert_eq!(again.with(&entry), Ok(Change::None), "{with}");
    let without = again.without();
    assert_eq!(without.as_deref().map(str::as_bytes), Some(bytes), "{with}");
}
