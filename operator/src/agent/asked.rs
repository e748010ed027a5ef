//! What an agent was asked for, read from its object.

use vrfgate_core::Leak;

use crate::api::VrfGateNodeSpec;

/// What an agent was asked for, leak by leak.
#[derive(Debug, Default)]
pub struct Asked {
    /// Those that it can parse.
    pub leaks: Vec<Leak>,
    /// Names of the leaks that this agent can't parse, and why.
    pub unread: Vec<(String, String)>,
    /// None for a spec that was saved by an earlier agent.
    pub generation: Option<Generation>,
}

/// A generation of an object.
#[derive(Debug, PartialEq)]
pub struct Generation {
    pub uid: String,
    pub number: i64,
    pub spec: VrfGateNodeSpec,
}

impl Asked {
    pub fn new(spec: &VrfGateNodeSpec, generation: Option<Generation>) -> Self {
        let mut asked = Self {
            generation,
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

    /// Whether no leak at all is asked for.
    pub fn nothing(&self) -> bool {
        self.leaks.is_empty() && self.unread.is_empty()
    }
}
