//! Files of leaks.

use std::{collections::BTreeMap, fmt};

use serde_saphyr::UserMessageFormatter;
use thiserror::Error;
use vrfgate_core::{Leak, LeakName};

use super::{
    document::Reader,
    field::{FieldError, FieldPath},
    yaml,
};

/// A mistake in a file of leaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {error}")]
pub struct ReadError {
    /// Where it was found.
    pub place: Place,
    /// The field, and what is wrong with it.
    pub error: FieldError,
}

/// Where in a file a mistake was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the caller named it.
    pub source: String,
    /// Line of the file, from 1. Absent where the YAML parser knows none.
    pub line: Option<u64>,
    /// Document of the file, from 1, empty ones not counted. Absent when the file is not YAML.
    pub document: Option<usize>,
}

/// `leaks.yaml:12: document 2`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            line,
            document,
        } = self;
        f.write_str(source)?;
        if let Some(line) = line {
            write!(f, ":{line}")?;
        }
        if let Some(document) = document {
            write!(f, ": document {document}")?;
        }
        Ok(())
    }
}

/// Reads the leaks of one file: YAML, or JSON, of any number of documents.
///
/// `source` is the file's name, for errors. An empty file holds no leaks.
///
/// # Errors
///
/// Every mistake in the file, in its order. A file with a mistake gives no leaks at all, because
/// half of what an author wrote is not what the author meant.
pub fn read_leaks(source: &str, text: &str) -> Result<Vec<Leak>, Vec<ReadError>> {
    let documents = yaml::parse(text).map_err(|error| vec![not_yaml(source, &error)])?;
    let reader = Reader::new();
    let mut leaks = Vec::new();
    let mut errors = Vec::new();
    let mut names: BTreeMap<LeakName, usize> = BTreeMap::new();
    for (document, number) in documents.iter().zip(1..) {
        let mut found = Vec::new();
        match reader.read(document) {
            Ok(leak) => {
                if let Some(earlier) = names.insert(leak.name.clone(), number) {
                    found.push(same_name(&leak.name, earlier));
                }
                leaks.push(leak);
            }
            Err(mistakes) => found = mistakes,
        }
        let mut found: Vec<ReadError> = found
            .into_iter()
            .map(|error| ReadError {
                place: Place {
                    source: source.to_owned(),
                    line: Some(document.line_of(&error.path)),
                    document: Some(number),
                },
                error,
            })
            .collect();
        found.sort_by_key(|error| error.place.line);
        errors.append(&mut found);
    }
    if errors.is_empty() {
        Ok(leaks)
    } else {
        Err(errors)
    }
}

fn not_yaml(source: &str, error: &serde_saphyr::Error) -> ReadError {
    ReadError {
        place: Place {
            source: source.to_owned(),
            line: error.location().map(|location| location.line()),
            document: None,
        },
        error: FieldError::new(
            FieldPath::root(),
            error.render_with_formatter(&UserMessageFormatter),
        ),
    }
}

fn same_name(name: &LeakName, earlier: usize) -> FieldError {
    FieldError::new(
        FieldPath::root().field("metadata").field("name"),
        format!("document {earlier} is a VrfLeak named {name} already"),
    )
}
