//! What an agent was asked for, read from its object.

use crate::api::VrfGateNodeSpec;
use vrfgate_core::Leak;

/// What an agent was asked for, leak by leak.
#[derive(Debug, Default)]
pub struct Asked {
    /// Those it can read.
    pub leaks: Vec<Leak>,
    /// Leaks that this agent can't read, and why.
    pub unread: Vec<(String, String)>,
    /// None for what was found beside the pins.
    pub edition: Option<Edition>,
}

/// Which edition of which object.
#[derive(Debug, PartialEq)]
pub struct Edition {
    pub uid: String,
    pub generation: i64,
    pub spec: VrfGateNodeSpec,
}

impl Asked {
    pub fn new(spec: &VrfGateNodeSpec, edition: Option<Edition>) -> Self {
        let mut asked = Self {
            edition,
            ..Self::default()
        };
        for leak in &spec.leaks {
            match leak.parse() {
                Ok(leak) => asked.leaks.push(leak),
                Err(errors) => {
                    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                    asked.unread.push((leak.name.clone(), errors.join("; ")));
                }
            }
        }
        asked
    }

    /// Whether there is nothing at all, readable or not.
    pub fn nothing(&self) -> bool {
        self.leaks.is_empty() && self.unread.is_empty()
    }
}
