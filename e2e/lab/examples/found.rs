//! Finds examples in files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Example;

/// What an object of ours begins with.
const OURS: &str = "apiVersion: vrfgate.dev/v1alpha1";

/// The examples of each file that has any, by its path in the repository.
pub fn all() -> Vec<(String, Vec<Example>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for place in [
        "",
        "charts",
        "docs",
        "operator/packaging",
        "operator/systemd",
    ] {
        collect(&root.join(place), !place.is_empty(), &mut files);
    }
    files.sort();
    let files = files.into_iter().filter_map(|file| {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
        let name = file.strip_prefix(&root).unwrap_or(&file);
        let examples = if name
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            vec![objects(&text)]
        } else {
            [leaks(&text), lists(&text)].concat()
        };
        (!examples.is_empty()).then(|| (name.display().to_string(), examples))
    });
    files.collect()
}

/// Prose, and YAML of directories called `examples`.
fn collect(directory: &Path, deep: bool, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            if deep {
                collect(&path, deep, files);
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let example = directory.ends_with("examples");
        match extension {
            Some("md" | "txt" | "example") => files.push(path),
            Some("yaml" | "yml") if example => files.push(path),
            _ => {}
        }
    }
}

/// A file of objects that go together.
fn objects(text: &str) -> Example {
    Example::Objects(text.split("\n---\n").map(parse).collect(), text.to_owned())
}

/// Leaks amid prose, indented as it pleases, up to a prompt, a fence, a here-document's end or lesser indentation.
fn leaks(text: &str) -> Vec<Example> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = (0..lines.len()).filter(|&at| lines[at].trim() == OURS);
    let leaks = starts.map(|start| {
        let indent = lines[start].len() - lines[start].trim_start().len();
        let ends = |line: &&str| {
            let own = line.get(indent..).unwrap_or_default();
            let shallow = !line.trim().is_empty() && line.len() - line.trim_start().len() < indent;
            shallow
                || own.starts_with("$ ")
                || own.starts_with("```")
                || own == "END"
                || own == "---"
        };
        let body = lines[start..].iter().take_while(|line| !ends(line));
        let body: Vec<&str> = body
            .map(|line| line.get(indent..).unwrap_or_default())
            .collect();
        let text = body.join("\n") + "\n";
        Example::Objects(vec![parse(&text)], text)
    });
    leaks.collect()
}

/// Configuration lists of CNI that name the plugin.
fn lists(text: &str) -> Vec<Example> {
    let blocks = text.split("```json\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.contains("\"vrfgate\""))
        .map(|block| match serde_json::from_str(block) {
            Ok(list) => Example::List(list),
            Err(error) => panic!("{error} in:\n{block}"),
        })
        .collect()
}

fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}
