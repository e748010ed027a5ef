//! For the fuzzer: the readers of untrusted input.

use vrfgate_core::{Attachment, ServiceWords, services};

use crate::{
    config::{OwnConfig, Places},
    protocol::Input,
};

/// The plugin's stdin, and the node's file of places, which is JSON, too.
pub fn stdin(bytes: &[u8]) {
    let _ = Places::parse(bytes);
    let _ = Input::stated_version(bytes);
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
            "passed on byte for byte"
        );
    }
    if let Ok(own) = OwnConfig::of(&input) {
        let words: Vec<ServiceWords> = own.services.iter().map(ServiceWords::from).collect();
        let written = serde_json::to_vec(&words).expect("services can be written");
        let again = serde_json::from_slice(&written).expect("what was written can be read");
        let again = services(again).expect("what was fine is fine");
        assert_eq!(own.services, again);
    }
}

/// The record of an attachment, if these bytes are one.
#[must_use]
pub fn attachment(bytes: &[u8]) -> Option<Attachment> {
    serde_json::from_slice(bytes).ok()
}
