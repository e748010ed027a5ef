//! The plugin's executable in the directory where container runtimes look for plugins.
//!
//! Container runtimes start it at any moment, so it is never written to in place.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use vrfgate_cni::{UNINSTALLED, version_of};

use super::{
    Outcome,
    entry::TYPE,
    place::{Place, set_mode},
};

/// Readable and executable for all; container runtimes run as root.
const MODE: u32 = 0o755;

/// Where the plugin comes from and goes to.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The plugin to install.
    pub plugin: PathBuf,
    /// Where it goes, under the name of its type.
    pub directory: PathBuf,
}

impl Binary {
    /// Makes the plugin be there. Changes nothing if it is, and without being allowed to.
    pub fn install(&self, may_write: bool) -> anyhow::Result<Outcome> {
        let (plugin, version) = self.wanted()?;
        if !self.directory.is_dir() {
            bail!(
                "{} is no directory; name the one where the container runtime of this node looks for plugins",
                self.directory.display()
            );
        }
        let place = Place::enter(&self.directory)?;
        let path = self.directory.join(TYPE);
        let said = match there(&path)? {
            Found::Nothing => format!("installed {}, version {version}", path.display()),
            Found::Foreign(what) => bail!(
                "{} {what} and not this plugin; it was left alone: move it away, or install elsewhere",
                path.display()
            ),
            Found::Ours(is, bytes)
                if bytes == plugin
                    && is.permissions().mode() & 0o7777 == MODE
                    && !is_uninstalled(&self.directory)? =>
            {
                let said = format!("{} is there already, version {version}", path.display());
                return Ok(Outcome::InPlace(said));
            }
            Found::Ours(_, bytes) => format!(
                "installed {}, version {version} instead of {}",
                path.display(),
                version_of(&bytes).unwrap_or("an unknown one")
            ),
        };
        if !may_write {
            return Ok(Outcome::Missing);
        }
        place.replace(&path, &plugin, |file| {
            set_mode(file, MODE)
                .with_context(|| format!("making {} executable", path.display()))?;
            Ok(true)
        })?;
        place.remove(&self.directory.join(UNINSTALLED))?;
        Ok(Outcome::Written(said))
    }

    fn wanted(&self) -> anyhow::Result<(Vec<u8>, String)> {
        let shown = self.plugin.display();
        let bytes = fs::read(&self.plugin)
            .with_context(|| format!("reading the plugin {shown}, which is to be installed"))?;
        let Some(version) = version_of(&bytes).map(ToOwned::to_owned) else {
            bail!(
                "{shown} is not the plugin; build it with `cargo build --release -p vrfgate-cni`"
            );
        };
        Ok((bytes, version))
    }
}

/// Content of the mark, for people who find it.
const MARK: &str = "vrfgate was uninstalled from this node. The plugin beside this file lets pods go and does nothing else. Both \
can be removed once the node has been started anew.\n";

/// Restricts the plugin in a directory to DEL, for container runtimes that keep the configuration of a pod's ADD for its
/// DEL; or, if `for_good`, removes it. Returns a sentence about that; `None` if there is no plugin.
pub fn uninstall(directory: &Path, for_good: bool) -> anyhow::Result<Option<String>> {
    if !directory.is_dir() {
        return Ok(None);
    }
    let place = Place::enter(directory)?;
    let path = directory.join(TYPE);
    let mark = directory.join(UNINSTALLED);
    match there(&path)? {
        Found::Nothing => {
            place.remove(&mark)?;
            Ok(None)
        }
        Found::Foreign(what) => Ok(Some(format!(
            "{} {what} and not this plugin; it was left alone",
            path.display()
        ))),
        Found::Ours(..) if for_good => {
            place.remove(&path)?;
            place.remove(&mark)?;
            Ok(Some(format!("removed {}", path.display())))
        }
        Found::Ours(..) => {
            place.replace(&mark, MARK.as_bytes(), |_| Ok(true))?;
            Ok(Some(format!(
                "{path} is out of use: it refuses new pods and lets go those that there are, whose container runtime may have \
                 kept the network configuration; once this node has been started anew, remove it: rm {path} {mark}",
                path = path.display(),
                mark = mark.display()
            )))
        }
    }
}

fn is_uninstalled(directory: &Path) -> anyhow::Result<bool> {
    let mark = directory.join(UNINSTALLED);
    mark.try_exists()
        .with_context(|| format!("looking for {}", mark.display()))
}

/// What has the name of the plugin.
enum Found {
    Nothing,
    /// Something else, which is this.
    Foreign(&'static str),
    Ours(Metadata, Vec<u8>),
}

fn there(path: &Path) -> anyhow::Result<Found> {
    let is = match fs::symlink_metadata(path) {
        Ok(is) => is,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error).with_context(|| format!("looking at {}", path.display())),
    };
    // Never opened: it may be a pipe.
    if !is.is_file() {
        return Ok(Found::Foreign("is no regular file"));
    }
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(match version_of(&bytes) {
        Some(_) => Found::Ours(is, bytes),
        None => Found::Foreign("is another program"),
    })
}
