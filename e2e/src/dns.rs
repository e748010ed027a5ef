//! One question of the domain name system (RFC 1035), and its answer.

use std::io;

/// The name that is asked for.
pub const NAME: &str = "who.lab";

/// `TXT` and `IN`, as numbers.
const TYPE_AND_CLASS: [u8; 4] = [0, 16, 0, 1];
/// Of every message.
const HEADER: usize = 12;
const ID: [u8; 2] = [0x76, 0x67];

/// A question for the text of [`NAME`].
pub(crate) fn question() -> Vec<u8> {
    // Recursion desired, one question.
    let mut message = [&ID[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    message.extend(question_section());
    message
}

/// The text in an answer that has just one.
pub(crate) fn answer(message: &[u8]) -> io::Result<String> {
    let section = question_section();
    let parsed = || {
        let rest = message.strip_prefix(&ID[..])?;
        let (header, rest) = rest.split_at_checked(HEADER - ID.len())?;
        // No error, one answer.
        if header[1] & 0x0f != 0 || header[4..6] != [0, 1] {
            return None;
        }
        let record = rest.strip_prefix(section.as_slice())?;
        // A pointer to the name, type, class, time to live, length; then the text with its own length.
        let text = record.get(12..)?;
        let (length, text) = text.split_first()?;
        String::from_utf8(text.get(..usize::from(*length))?.to_vec()).ok()
    };
    parsed().ok_or_else(|| io::Error::other(format!("no text in the answer {message:02x?}")))
}

fn question_section() -> Vec<u8> {
    let mut section = Vec::new();
    for label in NAME.split('.') {
        section.extend(u8::try_from(label.len()));
        section.extend(label.as_bytes());
    }
    section.push(0);
    section.extend(TYPE_AND_CLASS);
    section
}
