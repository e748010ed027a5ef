//! YAML documents as trees that remember the line each value came from.
//!
//! Values are typed the way `kubectl` types them: by their form, before anything asks what
//! they are wanted for. `name: 5` is a number here, and an error there.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;
use serde_saphyr::Spanned;

use super::field::{FieldPath, Step};

/// A value, and the line (from 1) that it begins on.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line of the file, from 1.
    pub line: u64,
    /// What stands there.
    pub value: Value,
}

/// What JSON can hold, with lines.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`, `~`, or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number that is finite.
    Number(Number),
    /// Text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object, in the order of the file; no key comes twice.
    Object(Vec<Entry>),
}

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Line of the key, from 1.
    pub line: u64,
    /// The key.
    pub key: String,
    /// The value.
    pub node: Node,
}

/// The documents of a YAML file; empty ones are left out.
pub fn parse(text: &str) -> Result<Vec<Node>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        // YAML 1.2: `no` is a word, and only `false` is false.
        strict_booleans: true,
        // Errors fit a log line; the line number shows the place.
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options)
}

impl Node {
    /// The field `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Object(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The text, if this is text.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of the field at `path`, or of the innermost value around it that exists.
    pub fn line_of(&self, path: &FieldPath) -> u64 {
        let mut node = self;
        let mut line = self.line;
        for step in path.steps() {
            let next = match (step, &node.value) {
                (Step::Field(name), Value::Object(entries)) => entries
                    .iter()
                    .find(|entry| entry.key == *name)
                    .map(|entry| (entry.line, &entry.node)),
                (Step::Index(index), Value::List(nodes)) => {
                    nodes.get(*index).map(|node| (node.line, node))
                }
                _ => None,
            };
            let Some(next) = next else { break };
            (line, node) = next;
        }
        line
    }

    /// The same value without lines.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Object(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format_args!("{value} is not a number that JSON can hold")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = fields.next_entry::<Spanned<String>, Node>()? {
            entries.push(Entry {
                line: key.referenced.line(),
                key: key.value,
                node,
            });
        }
        Ok(Value::Object(entries))
    }
}
