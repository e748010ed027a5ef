//! Names, each with the rule of whoever reads it: the kernel's for devices, Kubernetes' for the rest.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// `IFNAMSIZ` of `<linux/if.h>` less its terminating NUL.
const DEVICE_NAME_MAX: usize = 15;
/// RFC 1123 label, as Kubernetes limits names that become part of other names.
const LABEL_MAX: usize = 63;
/// RFC 1123 subdomain, as Kubernetes limits object names.
const SUBDOMAIN_MAX: usize = 253;

/// Why a string is not a name of the wanted kind. The message says what to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// The empty string.
    #[error("must not be empty")]
    Empty,
    /// More bytes than the reader of the name takes.
    #[error("{name:?} is {} bytes long; at most {max} are allowed", name.len())]
    TooLong {
        /// The string as it was given.
        name: String,
        /// The limit in bytes.
        max: usize,
    },
    /// `.` and `..`, which would name directories of `/sys/class/net`.
    #[error("{0:?} cannot name a network device")]
    Dots(String),
    /// A character that the kernel refuses in a device name.
    #[error("{name:?} contains {character:?}, which the kernel refuses in device names")]
    DeviceCharacter {
        /// The string as it was given.
        name: String,
        /// The first offending character.
        character: char,
    },
    /// Not an RFC 1123 label.
    #[error(
        "{0:?} must be lower-case letters, digits and '-', with a letter or digit at both ends"
    )]
    NotALabel(String),
    /// Not an RFC 1123 subdomain.
    #[error(
        "{0:?} must be lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part"
    )]
    NotASubdomain(String),
}

/// Declares a string type that exists only if `$check` accepts it.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// Name of a network device, by the kernel's own rule (`dev_valid_name`).
    DeviceName, check_device
}
name! {
    /// Name of a VRF device. The device need not exist, nor be a VRF if it does.
    VrfName, check_device
}
name! {
    /// Name of a leak: `metadata.name`, an RFC 1123 subdomain.
    LeakName, check_subdomain
}
name! {
    /// Name of a service within its leak: an RFC 1123 label.
    ServiceName, check_label
}

impl LeakName {
    /// One that is made of labels, with dots between them.
    pub(crate) fn of_labels(labels: String) -> Self {
        debug_assert!(is_subdomain(&labels), "{labels}");
        Self(labels)
    }
}

fn check_length(name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > max {
        return Err(NameError::TooLong {
            name: name.to_owned(),
            max,
        });
    }
    Ok(())
}

fn check_device(name: &str) -> Result<(), NameError> {
    check_length(name, DEVICE_NAME_MAX)?;
    if matches!(name, "." | "..") {
        return Err(NameError::Dots(name.to_owned()));
    }
    match name.chars().find(|&c| refused_by_kernel(c)) {
        Some(character) => Err(NameError::DeviceCharacter {
            name: name.to_owned(),
            character,
        }),
        None => Ok(()),
    }
}

/// Whether the kernel refuses `character` in a device name.
///
/// It judges bytes, and its `isspace` counts 0xa0 (a Latin-1 space) as one. That byte is also part
/// of the UTF-8 form of characters that are no spaces at all, such as `à`.
fn refused_by_kernel(character: char) -> bool {
    let mut utf8 = [0; 4];
    character
        .encode_utf8(&mut utf8)
        .bytes()
        .any(|byte| matches!(byte, 0 | b'/' | b':' | b' ' | 0x09..=0x0d | 0xa0))
}

fn check_label(name: &str) -> Result<(), NameError> {
    check_length(name, LABEL_MAX)?;
    if is_label(name) {
        Ok(())
    } else {
        Err(NameError::NotALabel(name.to_owned()))
    }
}

fn check_subdomain(name: &str) -> Result<(), NameError> {
    check_length(name, SUBDOMAIN_MAX)?;
    if is_subdomain(name) {
        Ok(())
    } else {
        Err(NameError::NotASubdomain(name.to_owned()))
    }
}

/// Whether the text is made of RFC 1123 labels, whatever its length.
#[must_use]
pub fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    text.bytes().all(inner) && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}
