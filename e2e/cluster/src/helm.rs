//! helm, as one calls it.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, bail};

/// The program named by `HELM`, or else the one on PATH, and the cluster it talks to.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Default for Helm {
    fn default() -> Self {
        Self {
            program: env::var_os("HELM").map_or_else(|| "helm".into(), PathBuf::from),
            kubeconfig: None,
        }
    }
}

impl Helm {
    /// One that talks to the cluster of a kubeconfig.
    #[must_use]
    pub fn of(kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: Some(kubeconfig.to_owned()),
            ..Self::default()
        }
    }

    /// What it prints, on stdout and, when it fails, on stderr.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(&self.program)
            .args(arguments)
            // Never the cluster of whoever runs the tests.
            .env_remove("KUBECONFIG")
            .envs(self.kubeconfig.iter().map(|path| ("KUBECONFIG", path)))
            .output()
            .with_context(|| {
                format!("starting {}; see e2e/tools/helm.sh", self.program.display())
            })?;
        let text = String::from_utf8_lossy(&stdout).into_owned();
        if !status.success() {
            let command = arguments.join(" ");
            bail!("helm {command}: {text}{}", String::from_utf8_lossy(&stderr));
        }
        Ok(text)
    }
}
