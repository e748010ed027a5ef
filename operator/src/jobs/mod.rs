//! Jobs of the Helm chart: withdraws everything before vrfgate is uninstalled, and checks whether every node has put its
//! generation into force. Knows the API server; nothing of this machine.

mod check;
mod networks;
mod withdraw;

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Client, Error,
    api::{ListParams, ObjectList},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

pub use check::{Verdict, check, judge};
pub use withdraw::withdraw;

/// How often to poll the cluster.
const EVERY: Duration = Duration::from_millis(500);

/// Nodes and leaks named in a message: of a thousand, the first few are enough to begin with.
const NAMED: usize = 10;

/// Finds the cluster.
async fn client() -> anyhow::Result<Client> {
    use anyhow::Context as _;
    Client::try_default()
        .await
        .context("finding the cluster, by KUBECONFIG or as a pod's service account")
}

/// Retries until there is an answer that another try wouldn't change, or the deadline has passed.
async fn ask<T>(
    what: &str,
    deadline: Instant,
    mut request: impl AsyncFnMut() -> Result<T, Error>,
) -> anyhow::Result<T> {
    let mut warned = false;
    loop {
        let error = match timeout_at(deadline, request()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => anyhow::bail!("{what}: the API server gave no answer in time"),
        };
        let final_answer =
            matches!(&error, Error::Api(status) if (400..429).contains(&status.code));
        if final_answer || Instant::now() + EVERY >= deadline {
            return Err(anyhow::Error::new(error).context(what.to_owned()));
        }
        if !warned {
            warn!("{what}: {error}; trying again");
            warned = true;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// All objects of a kind. None where the API server doesn't know the kind.
async fn all<K>(api: &Api<K>, what: &str, deadline: Instant) -> anyhow::Result<Vec<K>>
where
    K: Clone + Debug + DeserializeOwned,
{
    let list = ask(what, deadline, async || {
        match api.list(&ListParams::default()).await {
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            answer => answer.map(Some),
        }
    });
    Ok(list
        .await?
        .map(|list: ObjectList<K>| list.items)
        .unwrap_or_default())
}

/// The first few, and how many more there are.
fn some_of(items: &[String]) -> String {
    crate::some_of::some_of(items, NAMED, ", ", " ")
}
