//! Leaks from files, for machines without Kubernetes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use vrfgate_core::{Leak, check_set};

use crate::api::read_leaks;

/// Endings of the files that are read in a directory.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The files and directories that a user named.
#[derive(Clone, Debug)]
pub struct LeakFiles(Vec<PathBuf>);

impl LeakFiles {
    /// Files, and directories of which every `*.yaml`, `*.yml` and `*.json` is read.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }

    /// Reads everything. One mistake anywhere, and no leaks at all are returned: half of what is written is
    /// not what is meant.
    pub fn read(&self) -> Result<Vec<Leak>, Vec<String>> {
        let mut leaks = Vec::new();
        let mut errors = Vec::new();
        for path in &self.0 {
            match files_of(path) {
                Ok(files) => {
                    for file in files {
                        match read_file(&file) {
                            Ok(found) => leaks.extend(found),
                            Err(found) => errors.extend(found),
                        }
                    }
                }
                Err(error) => errors.push(format!("reading {}: {error}", path.display())),
            }
        }
        errors.extend(check_set(&leaks).iter().map(ToString::to_string));
        if errors.is_empty() {
            Ok(leaks)
        } else {
            Err(errors)
        }
    }

    /// Directories in which a change may concern these files. Never the files themselves: editors and
    /// config managers replace them, and a watch stays with the replaced one.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = self
            .0
            .iter()
            .map(|path| match path.parent() {
                _ if path.is_dir() => path.clone(),
                Some(parent) if parent != Path::new("") => parent.to_owned(),
                _ => PathBuf::from("."),
            })
            .collect();
        directories.sort_unstable();
        directories.dedup();
        directories
    }
}

fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<Leak>, Vec<String>> {
    let text = fs::read_to_string(path)
        .map_err(|error| vec![format!("reading {}: {error}", path.display())])?;
    read_leaks(&path.display().to_string(), &text)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}
