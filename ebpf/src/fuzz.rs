//! For the fuzzer: readers of what is not ours to trust.

use crate::{
    netlink::{self, Messages},
    record::Record,
    sockets, tracker,
};

/// A record of a gate, as a file has it; or the kernel's types.
pub fn files(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        let written = serde_json::to_vec(&record).expect("a record can be written");
        let again = Record::parse(&written).expect("what was written can be read");
        assert_eq!(record, again);
    }
    tracker::has_member(bytes, b"inet_bind_bucket", b"bhash2");
    tracker::read_types(bytes);
}

/// A datagram of the kernel, read as every list of the loader.
pub fn netlink(datagram: &[u8]) {
    netlink::read_everything(datagram);
    for message in Messages::of(datagram).flatten() {
        sockets::read_everything(&message);
    }
}
