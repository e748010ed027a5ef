//! For the fuzzer: readers of what is not ours to trust.

use crate::{
    Attachment,
    config::{Asked, Places},
    protocol::Input,
};

/// What a runtime says on stdin; and the node's file of places, which is JSON, too.
pub fn stdin(bytes: &[u8]) {
    let _ = Places::parse(bytes);
    let _ = Input::told_version(bytes);
    let Ok(input) = Input::parse(bytes) else {
        return;
    };
    let _ = input.valid_attachments();
    if let Ok(result) = input.prev_result() {
        let result = result.get();
        assert!(
            bytes
                .windows(result.len())
                .any(|part| part == result.as_bytes()),
            "handed on to the byte"
        );
    }
    if let Ok(asked) = Asked::of(&input) {
        let written = serde_json::to_vec(&asked.services).expect("services can be written");
        let again: Vec<crate::Service> =
            serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(asked.services, again);
    }
}

/// A record of an attachment, if it is one.
#[must_use]
pub fn attachment(bytes: &[u8]) -> Option<Attachment> {
    serde_json::from_slice(bytes).ok()
}
