//! The fields that take one of a few words.

use vrfgate_core::{Mode, Protocol, Replies};

/// `spec.mode`: refuse.
pub const ENFORCE: &str = "Enforce";
/// `spec.mode`: count, refuse nothing.
pub const AUDIT: &str = "Audit";
/// `spec.replies`: by return routes.
pub const ROUTE: &str = "Route";
/// `spec.replies`: by connection mark.
pub const STEER: &str = "Steer";
/// `spec.services[].protocol`
pub const TCP: &str = "TCP";
/// `spec.services[].protocol`
pub const UDP: &str = "UDP";

/// What the words of `spec.mode` mean.
pub const MODES: [(&str, Mode); 2] = [(ENFORCE, Mode::Enforce), (AUDIT, Mode::Audit)];
/// What the words of `spec.replies` mean.
pub const REPLIES: [(&str, Replies); 2] = [(ROUTE, Replies::Route), (STEER, Replies::Steer)];
/// What the words of `spec.services[].protocol` mean.
pub const PROTOCOLS: [(&str, Protocol); 2] = [(TCP, Protocol::Tcp), (UDP, Protocol::Udp)];

/// What `text` means, or a message that lists the words there are.
pub fn parse<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*meaning);
    }
    let near = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text));
    Err(match near {
        Some((word, _)) => format!("{text:?} must be written {word}"),
        None => format!("{text:?} must be {}", alternatives(words)),
    })
}

/// The words as a sentence has them: `TCP or UDP`.
pub fn alternatives<T>(words: &[(&str, T)]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    words.join(" or ")
}
