//! Files and directories that only root and its group may read, and files that are replaced at once.
//!
//! The new content is first written to a fixed name beside the file. The `tempfile` crate would take a new name each
//! time, and each killed process would leave one more file. Nothing is synced: these files describe what is in the
//! kernel, and don't outlive it.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

const DIRECTORY_MODE: u32 = 0o750;
pub(crate) const FILE_MODE: u32 = 0o640;

/// Lets only root and its group read a file.
pub fn restrict(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(FILE_MODE))
}

/// Makes a directory and those above it, for root and its group. They may exist.
pub fn create_directories(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
}

/// Replaces a file at once: readers see the old content or the new, and so does whoever comes after a killed process.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(&aside)?;
    file.write_all(content)?;
    fs::rename(aside, path)
}

/// Removes a file that [`replace_file`] wrote, and what a killed process left of its successor.
pub fn remove_replaced(path: &Path) -> io::Result<()> {
    for path in [path, Path::new(&aside(path))] {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

fn aside(path: &Path) -> OsString {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".new");
    aside
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _};

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_never_written_in_place() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("record");
        replace_file(&path, b"old").unwrap();
        let mut reader = File::open(&path).unwrap();
        replace_file(&path, b"new").unwrap();
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "old", "a reader saw a file that was being written");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
