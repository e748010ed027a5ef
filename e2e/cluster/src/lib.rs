//! A real Kubernetes control plane on loopback: etcd and kube-apiserver, with a PKI of its own;
//! kube-controller-manager and kube-scheduler, where pods run.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use vrfgate_cluster::ControlPlane;
//!
//! let cluster = ControlPlane::start()?;
//! let admin = cluster.client(&cluster.admin()).await?;
//! let node = cluster.client(&cluster.user("system:node:n1", "system:nodes")?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything lies in a temporary directory and ends with the value. Knows nothing of vrfgate.

mod control_plane;
mod helm;
mod objects;
mod pages;
mod pki;
mod process;

pub use control_plane::{ControlPlane, free_port};
pub use helm::Helm;
pub use objects::{apply, apply_dry, token};
pub use pages::Pages;
pub use pki::{API_SERVICE, HOST_OF_VM, Identity};
pub use process::Process;
