//! Questions to the kernel from asynchronous code: the kernel takes a second to walk a list of a million routes, and
//! nothing else is to wait for that.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;
use vrfgate_ebpf::{
    Netns,
    netlink::{Error, Socket},
};

/// A socket for questions, which are asked one at a time. Questions have a socket of their own: a flood of changes may
/// cost us changes, which a reconciliation finds then, but no answer.
#[derive(Clone)]
pub(in crate::node) struct Questions {
    netns: Netns,
    /// None while a new one is needed.
    socket: Arc<Mutex<Option<Socket>>>,
}

impl Questions {
    pub(in crate::node) fn open(netns: &Netns) -> Result<Self, Error> {
        let socket = Socket::route(netns)?;
        Ok(Self {
            netns: netns.clone(),
            socket: Arc::new(Mutex::new(Some(socket))),
        })
    }

    /// Does something with the socket, elsewhere.
    pub(in crate::node) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Socket) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Self { netns, socket } = self.clone();
        let asked = spawn_blocking(move || {
            let mut place = socket.lock().unwrap_or_else(PoisonError::into_inner);
            let mut socket = match place.take() {
                Some(socket) => socket,
                None => Socket::route(&netns)?,
            };
            let result = work(&mut socket);
            // Answers to this question may still come, where it failed.
            if result.as_ref().map_or_else(Error::is_over, |_| true) {
                *place = Some(socket);
            }
            result
        });
        asked
            .await
            .unwrap_or_else(|stopped| Err(std::io::Error::other(stopped).into()))
    }
}
