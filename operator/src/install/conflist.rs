//! The text of a configuration list: where our entry is, and the text with it put in or taken out.
//!
//! Pure. The list isn't our file: no byte of it changes except for our entry and the comma before it. So nothing is
//! parsed into values and written again; the text is cut at the places where the parser found things.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use vrfgate_cni::{MANAGED_BY, check_version};

use super::entry::{Entry, OURS, TYPE};

/// A configuration list, as far as it concerns us.
#[derive(Debug)]
pub struct Conflist<'a> {
    text: &'a str,
    /// What it calls its network.
    pub name: Option<String>,
    /// Versions of the specification that its plugins may be asked to speak.
    versions: Vec<Option<String>>,
    plugins: Option<Vec<Plugin<'a>>>,
}

#[derive(Debug)]
struct Plugin<'a> {
    raw: &'a RawValue,
    whose: Whose,
}

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Of our type, and put in by us.
    Ours,
    /// Of our type, and put in by somebody else.
    ByHand,
    /// Another plugin.
    Other,
}

/// What is to be done so that an entry is in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in.
    None,
    /// Somebody else has put in an entry of our type, which stays as it is.
    ByHand,
    /// It is missing; this is the text with it.
    Add(String),
    /// It is another one; this is the text with the right one.
    Replace(String),
}

impl<'a> Conflist<'a> {
    /// Finds the parts of a text; an error is the reason why it is no configuration list.
    pub fn parse(text: &'a [u8]) -> Result<Self, String> {
        let text = str::from_utf8(text).map_err(|error| format!("is no UTF-8: {error}"))?;
        let keys: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|error| format!("is no JSON object: {error}"))?;
        let name = part(&keys, "name")?;
        let mut versions: Vec<Option<String>> = part::<Vec<String>>(&keys, "cniVersions")?
            .unwrap_or_default()
            .into_iter()
            .map(Some)
            .collect();
        let version = part(&keys, "cniVersion")?;
        if version.is_some() || versions.is_empty() {
            versions.push(version);
        }
        let plugins = part::<Vec<&RawValue>>(&keys, "plugins")?;
        Ok(Self {
            text,
            name,
            versions,
            plugins: plugins.map(|plugins| plugins.into_iter().map(Plugin::new).collect()),
        })
    }

    /// What makes the entry be in the list, as its last plugin; or why it can't be.
    pub fn with(&self, entry: &Entry) -> Result<Change, String> {
        let plugins = self.plugins();
        if plugins.iter().any(|plugin| plugin.whose == Whose::ByHand) {
            return Ok(Change::ByHand);
        }
        for version in &self.versions {
            check_version(version.as_deref()).map_err(|why| {
                format!("{why}; with our entry, no pod of this network would start")
            })?;
        }
        if let Some(plugin) = plugins.iter().find(|plugin| plugin.whose == Whose::Ours) {
            if entry.is(plugin.raw.get()) {
                return Ok(Change::None);
            }
            let text = self.splice(self.range(plugin), entry.text());
            return Ok(Change::Replace(text));
        }
        let Some(last) = plugins.last() else {
            return Err(
                "plugins: there is none that ours could follow; it attaches nothing by itself"
                    .to_owned(),
            );
        };
        let end = self.range(last).end;
        let entry = format!(",{}{}", self.space_before(last), entry.text());
        Ok(Change::Add(self.splice(end..end, &entry)))
    }

    /// The text without what we have put in; `None` if there is nothing of ours in it.
    pub fn without(&self) -> Option<String> {
        let plugins = self.plugins();
        let at = plugins
            .iter()
            .position(|plugin| plugin.whose == Whose::Ours)?;
        let ours = self.range(&plugins[at]);
        // With the comma that we added.
        let cut = match (at.checked_sub(1), plugins.get(at + 1)) {
            (Some(before), _) => self.range(&plugins[before]).end..ours.end,
            (None, Some(next)) => ours.start..self.range(next).start,
            (None, None) => ours,
        };
        let text = self.splice(cut, "");
        let rest = Conflist::parse(text.as_bytes())
            .ok()
            .and_then(|rest| rest.without());
        Some(rest.unwrap_or(text))
    }

    /// Whether any plugin in it is of our type.
    pub fn uses_us(&self) -> bool {
        let mut plugins = self.plugins().iter();
        plugins.any(|plugin| plugin.whose != Whose::Other)
    }

    fn plugins(&self) -> &[Plugin<'a>] {
        self.plugins.as_deref().unwrap_or_default()
    }

    /// Where in the text a plugin stands.
    fn range(&self, plugin: &Plugin<'a>) -> Range<usize> {
        // The parser returned a slice of the text.
        let start = plugin.raw.get().as_ptr().addr() - self.text.as_ptr().addr();
        start..start + plugin.raw.get().len()
    }

    /// The white space that the author of the list likes before a plugin.
    fn space_before(&self, plugin: &Plugin<'a>) -> &'a str {
        let before = &self.text[..self.range(plugin).start];
        let ends = before.trim_end_matches([' ', '\t', '\n', '\r']).len();
        &before[ends..]
    }

    fn splice(&self, place: Range<usize>, with: &str) -> String {
        let (before, after) = (&self.text[..place.start], &self.text[place.end..]);
        [before, with, after].concat()
    }
}

impl<'a> Plugin<'a> {
    fn new(raw: &'a RawValue) -> Self {
        // Anything but an object is no plugin, and doesn't hide the others.
        let keys: Map<String, Value> = serde_json::from_str(raw.get()).unwrap_or_default();
        let is = |key: &str, value: &str| keys.get(key).and_then(Value::as_str) == Some(value);
        let whose = match (is("type", TYPE), is(MANAGED_BY, OURS)) {
            (true, true) => Whose::Ours,
            (true, false) => Whose::ByHand,
            (false, _) => Whose::Other,
        };
        Self { raw, whose }
    }
}

/// The value of a key; `None` where it is missing or `null`.
fn part<'a, T: Deserialize<'a>>(
    keys: &BTreeMap<String, &'a RawValue>,
    key: &str,
) -> Result<Option<T>, String> {
    keys.get(key)
        .map_or(Ok(None), |value| serde_json::from_str(value.get()))
        .map_err(|error| format!("{key}: {error}"))
}

#[cfg(test)]
mod tests;
