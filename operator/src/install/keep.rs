//! Keeps plugin and entry in their places, in the background, and reports while they aren't.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tracing::{info, warn};

use super::{Outcome, Wanted, pace};
use pace::Pace;

/// A file is replaced in several steps; check after the last.
const SETTLE: Duration = Duration::from_millis(100);

/// How often to check without an event: a directory that is created or replaced causes none, and a full queue loses some.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The same, while something is missing.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// Keeps what is wanted in its place, for as long as it lives.
#[derive(Debug)]
pub struct Keeper {
    unready: watch::Receiver<Vec<String>>,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Starts at once.
    #[must_use]
    pub fn start(wanted: Wanted) -> Self {
        let (sender, unready) =
            watch::channel(vec!["the CNI plugin is not installed yet".to_owned()]);
        let (stop, stopped) = watch::channel(false);
        let metrics = Metrics::default();
        let work = Work::new(wanted, metrics.clone());
        Self {
            unready,
            metrics,
            stop,
            task: tokio::spawn(keep(work, sender, stopped)),
        }
    }

    /// What isn't in its place, and why; updated with each change.
    #[must_use]
    pub fn unready(&self) -> watch::Receiver<Vec<String>> {
        self.unready.clone()
    }

    /// Stops. Nothing is changed after this has returned.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }

    /// Registers the metrics.
    pub fn register(&self, all: &mut Registry) {
        let Metrics {
            in_place,
            contested,
            writes,
        } = &self.metrics;
        all.register(
            "cni_in_place",
            "1 while the CNI plugin, and our entry in the chain, are where they shall be",
            in_place.clone(),
        );
        all.register(
            "cni_contested",
            "1 while something else removes it again and again",
            contested.clone(),
        );
        all.register("cni_writes", "How often it was put there", writes.clone());
    }
}

type Label = [(&'static str, &'static str); 1];

#[derive(Clone, Debug, Default)]
struct Metrics {
    in_place: Family<Label, Gauge>,
    contested: Family<Label, Gauge>,
    writes: Family<Label, Counter>,
}

async fn keep(mut work: Work, sender: watch::Sender<Vec<String>>, mut stop: watch::Receiver<bool>) {
    // One is enough: the next check sees all changes before it.
    let (notice, mut changed) = mpsc::channel(1);
    let mut watched = Watched::new(&work.wanted, notice);
    loop {
        // Watch before checking: a change after the check is an event.
        watched.follow();
        let checked = spawn_blocking(move || {
            let next = work.check(Instant::now());
            (work, next)
        });
        let next;
        (work, next) = match checked.await {
            Ok(checked) => checked,
            Err(error) => {
                warn!("keeping the CNI plugin in its place ended: {error}");
                sender.send_replace(vec![format!(
                    "nobody keeps the CNI plugin in its place: {error}"
                )]);
                return;
            }
        };
        let unready = work.unready();
        sender.send_if_modified(|last| {
            let differs = *last != unready;
            *last = unready;
            differs
        });
        let changed_meanwhile = tokio::select! {
            // Never without a watcher.
            Some(()) = changed.recv() => true,
            () = sleep(next) => false,
            // Also when the sender is gone.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if changed_meanwhile {
            sleep(SETTLE).await;
            while changed.try_recv().is_ok() {}
        }
    }
}

/// The work of each check.
struct Work {
    wanted: Wanted,
    plugin: Part,
    chain: Part,
}

impl Work {
    fn new(wanted: Wanted, metrics: Metrics) -> Self {
        Self {
            wanted,
            plugin: Part::new("plugin", metrics.clone()),
            chain: Part::new("chain", metrics),
        }
    }

    /// Checks everything, repairs what may be repaired, and returns the time until the next check.
    fn check(&mut self, now: Instant) -> Duration {
        let Wanted {
            binary,
            lists,
            chain,
        } = &self.wanted;
        self.plugin
            .attend(now, |may_write| binary.install(may_write));
        // An entry without the plugin keeps pods from starting.
        if self.plugin.in_place
            && let Some(chain) = chain
        {
            self.chain
                .attend(now, |may_write| chain.put_in(lists, may_write));
        }
        let parts = [&self.plugin, &self.chain];
        let waits = parts.iter().filter_map(|part| part.pace.wait(now));
        let missing = chain.is_some() && !self.chain.in_place || !self.plugin.in_place;
        waits
            .min()
            .unwrap_or(Duration::MAX)
            .min(if missing { RETRY_EVERY } else { CHECK_EVERY })
    }

    fn unready(&self) -> Vec<String> {
        let mut unready: Vec<String> = self.plugin.unready.iter().cloned().collect();
        if self.wanted.chain.is_some() {
            if self.plugin.in_place {
                unready.extend(self.chain.unready.clone());
            } else {
                unready.push("our entry in the chain waits for the plugin".to_owned());
            }
        }
        unready
    }
}

/// The plugin, or our entry.
struct Part {
    name: &'static str,
    pace: Pace,
    in_place: bool,
    unready: Option<String>,
    /// What was logged last about it.
    logged: String,
    metrics: Metrics,
}

impl Part {
    fn new(name: &'static str, metrics: Metrics) -> Self {
        Self {
            name,
            pace: Pace::default(),
            in_place: false,
            unready: None,
            logged: String::new(),
            metrics,
        }
    }

    fn attend(&mut self, now: Instant, put: impl FnOnce(bool) -> anyhow::Result<Outcome>) {
        let was_contested = self.pace.contested();
        let result = put(self.pace.wait(now).is_none());
        self.in_place = matches!(result, Ok(Outcome::InPlace(_) | Outcome::Written(_)));
        let label = [("what", self.name)];
        match result {
            Ok(Outcome::InPlace(what)) => {
                self.pace.found(now);
                self.log(&what, false);
            }
            Ok(Outcome::Written(what)) => {
                self.pace.wrote(now);
                self.metrics.writes.get_or_create(&label).inc();
                info!("{what}");
                self.logged = what;
            }
            Ok(Outcome::Missing) => {}
            Err(error) => {
                let error = format!("{error:#}");
                self.log(&error, true);
                self.unready = Some(error);
            }
        }
        if self.in_place || self.pace.contested() {
            self.unready = self.pace.contested().then(|| self.fight());
        }
        match (was_contested, self.pace.contested()) {
            (false, true) => warn!("{}", self.fight()),
            (true, false) => info!("the fight for our CNI {} is over: it stays", self.name),
            _ => {}
        }
        let set = |metric: &Family<Label, Gauge>, value: bool| {
            metric.get_or_create(&label).set(i64::from(value));
        };
        set(&self.metrics.in_place, self.in_place);
        set(&self.metrics.contested, self.pace.contested());
    }

    /// Logs a state once, however long it lasts.
    fn log(&mut self, what: &str, bad: bool) {
        if self.logged != what {
            if bad {
                warn!("{what}; trying again");
            } else {
                info!("{what}");
            }
            what.clone_into(&mut self.logged);
        }
    }

    fn fight(&self) -> String {
        format!(
            "something else takes our CNI {} away again and again: it was put back {} times within {}s, and is now \
             once in that time, until it stays. Find who writes there; Cilium leaves others alone with \
             cni.exclusive=false",
            self.name,
            pace::MOST,
            pace::WINDOW.as_secs()
        )
    }
}

/// The directories that a change may come in.
struct Watched {
    watcher: Option<RecommendedWatcher>,
    /// Each with the inode that is watched: a directory may be replaced.
    directories: Vec<(PathBuf, Option<(u64, u64)>)>,
}

impl Watched {
    fn new(wanted: &Wanted, notice: mpsc::Sender<()>) -> Self {
        let on_event = move |event: notify::Result<notify::Event>| {
            // Runtimes open these files all the time.
            if event.map_or(true, |event| !event.kind.is_access()) {
                let _ = notice.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(|error| {
                warn!("watching directories of CNI: {error}; looking at intervals");
            })
            .ok();
        let lists = wanted.chain.as_ref().map(|_| wanted.lists.clone());
        let directories = [Some(wanted.binary.directory.clone()), lists];
        Self {
            watcher,
            directories: directories
                .into_iter()
                .flatten()
                .map(|directory| (directory, None))
                .collect(),
        }
    }

    /// Watches the directories that exist now.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for (directory, watched) in &mut self.directories {
            let is = inode(directory).ok();
            if *watched == is {
                continue;
            }
            if watched.is_some() {
                // Replaced, or gone; if so, the watch is gone, too.
                let _ = watcher.unwatch(directory);
            }
            *watched = is;
            if is.is_some()
                && let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive)
            {
                warn!(
                    "watching {}: {error}; looking at intervals",
                    directory.display()
                );
            }
        }
    }
}

fn inode(directory: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(directory).map(|is| (is.dev(), is.ino()))
}
