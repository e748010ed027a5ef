//! Which of several replicas leads, by a `Lease`.
//!
//! This does what client-go does: a lease has expired when it hasn't changed for its own duration by the monotonic
//! clock of the replica that reads it, every write names the version that it replaces, and a leader that can't renew
//! stops before another one can begin.
//!
//! No crate guarantees all three. `kube-lease-manager` 0.13 follows our kube, but compares the holder's `renewTime` with
//! the wall clock of another machine, clears an expired lease by a patch without a `resourceVersion`, so that a renewal
//! in between is lost, and goes on reporting leadership while the API server can't be reached. `kube-leader-election`
//! has the first two defects. `kubert` has not followed kube.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, Error,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::outage::Outage;

/// How long a lease lasts that isn't renewed.
const DURATION: Duration = Duration::from_secs(15);
/// A leader that couldn't renew for this long stops: well before another replica begins.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How often the leader renews the lease, and the others read it.
const EVERY: Duration = Duration::from_secs(2);

/// One replica's part in the election.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    outage: Outage,
    leading: watch::Sender<bool>,
    /// The lease as last read, and since when it hasn't changed.
    seen: Option<(Lease, Instant)>,
    /// When the lease was last renewed by this replica.
    renewed: Option<Instant>,
}

impl Election {
    /// The election, and the receiver that turns true while this replica leads.
    pub fn new(
        client: &Client,
        namespace: &str,
        name: &str,
        identity: String,
        outage: Outage,
    ) -> (Self, watch::Receiver<bool>) {
        let (leading, receiver) = watch::channel(false);
        let election = Self {
            api: Api::namespaced(client.clone(), namespace),
            name: name.to_owned(),
            identity,
            outage,
            leading,
            seen: None,
            renewed: None,
        };
        (election, receiver)
    }

    /// Takes part in the election until `stop` turns true; a leader then releases the lease.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let what = format!("the lease {}", self.name);
        loop {
            // A request that hangs is a renewal that failed.
            let result = timeout(EVERY * 2, self.take_or_renew()).await;
            if matches!(result, Ok(Ok(_))) {
                self.outage.worked(&what);
            }
            match result {
                Ok(Ok(true)) => self.renewed = Some(Instant::now()),
                Ok(Ok(false)) => self.renewed = None,
                Ok(Err(error)) => self.outage.failed(&what, &error),
                Err(_) => self.outage.timed_out(&what),
            }
            let leads = self.renewed.is_some_and(|at| at.elapsed() < GIVE_UP);
            if self.leading.send_replace(leads) && !leads {
                info!("this replica leads no more");
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let led = self.leading.send_replace(false);
        if led && let Err(error) = self.release().await {
            warn!("releasing the lease {}: {error}", self.name);
        }
    }

    /// Whether this replica holds the lease now.
    async fn take_or_renew(&mut self) -> Result<bool, Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.claim(None)),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == lease => *since,
            _ => Instant::now(),
        };
        self.seen = Some((lease.clone(), since));
        if !self.may_take(&lease, since) {
            return Ok(false);
        }
        let mut taken = lease;
        taken.spec = Some(self.claim(taken.spec.as_ref()));
        won(self
            .api
            .replace(&self.name, &PostParams::default(), &taken)
            .await)
    }

    fn may_take(&self, lease: &Lease, since: Instant) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let seconds = spec.lease_duration_seconds.unwrap_or_default();
        let duration = Duration::from_secs(seconds.max(0).unsigned_abs().into());
        holder.is_empty() || holder == self.identity || since.elapsed() >= duration
    }

    fn claim(&self, former: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let former = former.cloned().unwrap_or_default();
        let stays = former.holder_identity.as_ref() == Some(&self.identity);
        let transitions = former.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if stays {
                former.acquire_time
            } else {
                now.clone()
            },
            renew_time: now,
            lease_transitions: Some(if stays { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    async fn release(&self) -> Result<(), Error> {
        let mut lease = self.api.get(&self.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        self.api
            .replace(&self.name, &PostParams::default(), &lease)
            .await?;
        Ok(())
    }
}

/// A conflict is no error: another replica has won.
fn won(written: Result<Lease, Error>) -> Result<bool, Error> {
    match written {
        Ok(_) => Ok(true),
        Err(Error::Api(status)) if status.code == 409 => {
            debug!("another replica was faster");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
