//! The mistakes found so far.

use std::fmt::Display;

use crate::api::field::{FieldError, FieldPath};

/// Collects mistakes while parsing goes on with the next field; each of them returns `None`.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// Notes a mistake in the field at `path`.
    pub fn add(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.0.push(FieldError::new(path.clone(), message));
    }

    /// Notes a mistake, in the place of a value.
    pub fn refuse<T>(&mut self, path: &FieldPath, message: impl Into<String>) -> Option<T> {
        self.add(path, message);
        None
    }

    /// The value, or nothing and a note of what was wrong with it.
    pub fn keep<T, E: Display>(&mut self, path: &FieldPath, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => self.refuse(path, error.to_string()),
        }
    }

    /// Notes when a list is longer than `max`.
    pub fn check_length<T>(&mut self, path: &FieldPath, list: &[T], max: usize) {
        if list.len() > max {
            let length = list.len();
            self.add(
                path,
                format!("has {length} entries; at most {max} are allowed"),
            );
        }
    }

    /// Notes each value that an earlier field has already.
    pub fn check_distinct<T: Display + PartialEq>(&mut self, fields: &[(FieldPath, T)]) {
        for (index, (path, value)) in fields.iter().enumerate() {
            if let Some((earlier, _)) = fields[..index].iter().find(|(_, other)| other == value) {
                self.add(path, format!("{value} is there already, at {earlier}"));
            }
        }
    }

    /// `parsed` if nothing was wrong, else all that was.
    ///
    /// A parser that drops a value without a note is a defect of this program; that too ends as an
    /// error, never as a leak that is less than its author wrote.
    pub fn finish<T>(mut self, parsed: Option<T>) -> Result<T, Vec<FieldError>> {
        match parsed {
            Some(parsed) if self.0.is_empty() => Ok(parsed),
            Some(_) => Err(self.0),
            None => {
                if self.0.is_empty() {
                    self.add(&FieldPath::root(), "cannot be read (a defect of vrfgate)");
                }
                Err(self.0)
            }
        }
    }
}
