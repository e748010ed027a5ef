//! The one object that an agent watches.

use std::sync::Arc;

use crate::{api::VrfGateNode, outage::Outage};
use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::watch;

/// What is known about it.
#[derive(Clone, Debug)]
pub enum Object {
    /// The API server has not been reached yet.
    Unknown,
    /// It doesn't exist.
    Missing,
    /// It exists.
    Known(Arc<VrfGateNode>),
}

/// Watches the `VrfGateNode` named `node`, in the background.
pub fn watch(client: &Client, node: &str, outage: Outage) -> watch::Receiver<Object> {
    let api: Api<VrfGateNode> = Api::all(client.clone());
    // An agent may read no other.
    let only = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let mut events = watcher(api, only).default_backoff().boxed();
    let (sender, object) = watch::channel(Object::Unknown);
    let what = format!("watching the VrfGateNode {node}");
    tokio::spawn(async move {
        let mut listed = None;
        while let Some(event) = events.next().await {
            let known = match event {
                Ok(watcher::Event::Init) => {
                    listed = None;
                    continue;
                }
                Ok(watcher::Event::InitApply(gate)) => {
                    listed = Some(gate);
                    continue;
                }
                Ok(watcher::Event::InitDone) => listed
                    .take()
                    .map_or(Object::Missing, |gate| Object::Known(Arc::new(gate))),
                Ok(watcher::Event::Apply(gate)) => Object::Known(Arc::new(gate)),
                Ok(watcher::Event::Delete(_)) => Object::Missing,
                Err(error) => {
                    outage.watch_failed(&what, &error);
                    continue;
                }
            };
            outage.worked(&what);
            if sender.send(known).is_err() {
                return;
            }
        }
    });
    object
}
