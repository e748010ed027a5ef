//! Signals from outside: SIGTERM and SIGINT ask the process to end.

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// The signals that ask the process to end.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Listens from now on: neither signal ends the process by itself any more. Must be called within a Tokio runtime.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them. None is lost when the wait is cancelled.
    pub(super) async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Turns true when one of them has come.
    pub(super) fn watch(mut self) -> watch::Receiver<bool> {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            self.requested().await;
            let _ = stop.send(true);
            // The receivers outlive this task; the value must, too.
            stop.closed().await;
        });
        stopped
    }
}

/// Listens for one signal.
pub(super) fn on(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("listening for signals")
}
