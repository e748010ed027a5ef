//! The node's pods: keeps the gates of all attachments of the CNI plugin, and adds the rules of the leaks that select
//! the pod. The plugin's records are the source of truth; its notices on the socket only save time.

#[cfg(feature = "fuzz")]
#[expect(
    clippy::missing_panics_doc,
    reason = "a promise that is not kept is what a fuzzer looks for"
)]
pub(crate) mod fuzz;
mod gate;
mod places;
mod socket;
mod status;
mod wanted;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, Interval, interval},
};
use tracing::warn;
use vrfgate_cni::{
    Attachments, Survey, Whereabouts,
    agent::{Event, Notice},
    find_netns,
};
use vrfgate_core::{Attachment, Key};
use vrfgate_ebpf::Store;
use vrfgate_machine::is_shortage;

use self::{
    gate::{Done, PodGate, Refusal, State},
    places::Places,
    socket::Heard,
    wanted::Wanted,
};
use crate::{
    api::{GatePod, LeakOutcome, PodOutcome, VrfGateNodeSpec},
    node::Settings,
};

/// How often the plugin's records are read, in case a notice was missed.
const READ_EVERY: Duration = Duration::from_secs(2);

/// How long a record that the plugin is about to remove counts as removed.
const LEAVING: Duration = Duration::from_secs(10);

/// Identifies a pod's gate: the cookie of its namespace.
type Cookie = u64;

/// The pods of this node.
pub struct Pods {
    store: Store,
    attachments: Attachments,
    settings: Settings,
    /// Spec of the `VrfGateNode`. Until that is known, every pod keeps what it has.
    asked: Option<VrfGateNodeSpec>,
    /// Each with the last state that was asked of it; `None` where the gate is to be removed.
    gates: BTreeMap<Cookie, (PodGate, Option<Wanted>)>,
    /// Namespaces that should have a gate and have no keeper, each with the reason. Tried again in each pass.
    pending: BTreeMap<Cookie, State>,
    places: Places,
    /// The attachments that were read last.
    known: BTreeMap<Cookie, Vec<Attachment>>,
    leaving: BTreeMap<Key, Instant>,
    heard: mpsc::Receiver<Heard>,
    _place: socket::Place,
    changed: Arc<Notify>,
    read: Interval,
}

/// An event for [`Pods::handle`].
pub enum PodEvent {
    /// The plugin sent a notice.
    Heard(Box<Heard>),
    /// The state of a pod's gate changed.
    Changed,
    /// It is time to read the records.
    Due,
}

impl Pods {
    /// Listens for the plugin. The process may have `open_files` files open.
    pub fn start(store: &Store, settings: Settings, open_files: u64) -> anyhow::Result<Self> {
        let (heard, place) = socket::listen(store)?;
        Ok(Self {
            store: store.clone(),
            attachments: Attachments::of(store),
            settings,
            asked: None,
            gates: BTreeMap::new(),
            pending: BTreeMap::new(),
            places: Places::within(open_files),
            known: BTreeMap::new(),
            leaving: BTreeMap::new(),
            heard,
            _place: place,
            changed: Arc::new(Notify::new()),
            read: interval(READ_EVERY),
        })
    }

    /// Waits for the next event.
    pub async fn event(&mut self) -> PodEvent {
        tokio::select! {
            Some(heard) = self.heard.recv() => PodEvent::Heard(Box::new(heard)),
            () = self.changed.notified() => PodEvent::Changed,
            _ = self.read.tick() => PodEvent::Due,
        }
    }

    /// Handles an event.
    pub fn handle(&mut self, event: PodEvent) {
        match event {
            PodEvent::Heard(heard) => self.hear(*heard),
            PodEvent::Changed => {
                let before = self.gates.len();
                self.gates.retain(|_, (gate, _)| !gate.is_over());
                if self.gates.len() < before && !self.pending.is_empty() {
                    self.reconcile(None);
                }
            }
            PodEvent::Due => {
                self.gates.retain(|_, (gate, _)| !gate.is_over());
                self.reconcile(None);
            }
        }
    }

    /// Puts another generation of the `VrfGateNode` into force.
    pub fn follow(&mut self, asked: &VrfGateNodeSpec) {
        self.asked = Some(asked.clone());
        self.reconcile(None);
    }

    /// Without a `VrfGateNode`, pods keep what they have, and new ones get what their network configurations ask for.
    pub fn follow_nobody(&mut self) {
        if self.asked.is_none() {
            self.follow(&VrfGateNodeSpec::default());
        }
    }

    /// The state of each pod, and of each leak that is for pods.
    pub fn outcomes(&self) -> (Vec<PodOutcome>, Vec<LeakOutcome>) {
        let gates = self.gates.iter();
        let gates = gates.map(|(cookie, (gate, _))| (cookie, gate.state()));
        let pending = self.pending.iter();
        let pending = pending.map(|(cookie, state)| (cookie, state.clone()));
        let states: Vec<_> = gates
            .chain(pending)
            .map(|(cookie, state)| {
                let attachments = self.known.get(cookie).map_or(&[][..], Vec::as_slice);
                (pod_of(attachments), state)
            })
            .collect();
        let nothing = VrfGateNodeSpec::default();
        status::outcomes(self.asked.as_ref().unwrap_or(&nothing), &states)
    }

    fn hear(&mut self, Heard { notice, done }: Heard) {
        let Notice {
            protocol: _,
            event,
            attachment,
            progress: _,
        } = notice;
        match event {
            Event::Attached => {
                self.leaving.remove(&attachment.key);
            }
            Event::Detached => {
                self.leaving
                    .insert(attachment.key.clone(), Instant::now() + LEAVING);
            }
        }
        self.reconcile(Some((attachment.netns.cookie, done)));
    }

    /// Brings every namespace in line with the records, and answers `awaited` once that is done for its namespace.
    fn reconcile(&mut self, awaited: Option<(Cookie, Done)>) {
        let Some(asked) = self.asked.clone() else {
            // The plugin has applied its configuration, and there is nothing to add to it yet.
            if let Some((_, done)) = awaited {
                let _ = done.send(Ok(()));
            }
            return;
        };
        let now = Instant::now();
        self.leaving.retain(|_, until| *until > now);
        let attachments = match self.attachments.all() {
            Ok(attachments) => attachments,
            Err(cause) => {
                let error = format!(
                    "reading {}: {cause}; pods keep what they have",
                    self.attachments.directory().display()
                );
                warn!("{error}");
                if let Some((_, done)) = awaited {
                    let later = is_shortage(&cause);
                    let _ = done.send(Err(Refusal { why: error, later }));
                }
                return;
            }
        };
        self.known.clear();
        for attachment in attachments {
            if !self.leaving.contains_key(&attachment.key) {
                let cookie = attachment.netns.cookie;
                self.known.entry(cookie).or_default().push(attachment);
            }
        }
        let (subject, mut done) = awaited.unzip();
        let there: BTreeSet<Cookie> = self
            .known
            .keys()
            .chain(self.gates.keys())
            .chain(self.pending.keys())
            .copied()
            .collect();
        let mut survey = Survey::default();
        for cookie in there {
            let done = if subject == Some(cookie) {
                done.take()
            } else {
                None
            };
            self.bring_in_line(&asked, cookie, done, &mut survey);
        }
        if let Some(done) = done {
            // Nothing is known about the namespace, so nothing is to be done.
            let _ = done.send(Ok(()));
        }
    }

    fn bring_in_line(
        &mut self,
        asked: &VrfGateNodeSpec,
        cookie: Cookie,
        mut done: Option<Done>,
        survey: &mut Survey,
    ) {
        let Some(attachments) = self.known.get(&cookie) else {
            self.pending.remove(&cookie);
            if let Some((gate, last)) = self.gates.get_mut(&cookie)
                && (last.take().is_some() || done.is_some())
            {
                done = gate.remove(done).err().flatten();
            }
            // There is no gate, or none any more.
            answer(done, Ok(()));
            return;
        };
        let pod = pod_of(attachments).and_then(|pod| asked_for(asked, pod));
        let wanted = Wanted::new(attachments, pod, &asked.pod_leaks);
        if let Some((gate, last)) = self.gates.get_mut(&cookie) {
            // A plugin that waits is answered when it is in force, not when it was asked for.
            if last.as_ref() == Some(&wanted) && done.is_none() && !gate.is_over() {
                return;
            }
            match gate.put(wanted.clone(), done) {
                Ok(()) => {
                    *last = Some(wanted);
                    return;
                }
                // The task has just ended: another one follows.
                Err(unheard) => done = unheard,
            }
        }
        match self.begin(attachments, survey) {
            Ok(Some(gate)) => {
                self.pending.remove(&cookie);
                // A new task takes its order.
                let _ = gate.put(wanted.clone(), done);
                self.gates.insert(cookie, (gate, Some(wanted)));
            }
            // Gone, or from an earlier boot. The plugin removes its record.
            Ok(None) => {
                self.pending.remove(&cookie);
                let why = "the network namespace is gone".to_owned();
                answer(done, Err(Refusal { why, later: false }));
            }
            Err(refusal) => {
                let state = State {
                    wanted,
                    trouble: Some(refusal.clone()),
                    ..State::default()
                };
                let before = self.pending.insert(cookie, state);
                if before.and_then(|before| before.trouble).as_ref() != Some(&refusal) {
                    warn!("{}: {}", name_of(attachments), refusal.why);
                }
                answer(done, Err(refusal));
            }
        }
    }

    /// Starts to keep the gate of a namespace, if that exists.
    fn begin(
        &self,
        attachments: &[Attachment],
        survey: &mut Survey,
    ) -> Result<Option<PodGate>, Refusal> {
        let later = |why| Refusal { why, later: true };
        let place = self.places.take().map_err(later)?;
        let mut unseen = None;
        for attachment in attachments {
            let path = attachment.netns.path.display();
            let found = find_netns(&attachment.netns, survey);
            match found.map_err(|error| later(format!("opening {path}: {error}")))? {
                Whereabouts::There(netns) => {
                    let changed = Arc::clone(&self.changed);
                    let gate = PodGate::start(&self.store, netns, self.settings, place, changed);
                    return Ok(Some(gate));
                }
                Whereabouts::Unseen(why) => unseen = Some(why),
                Whereabouts::Gone => {}
            }
        }
        match unseen {
            Some(why) => Err(Refusal {
                why: format!("nobody looks after its gate, which stays as it is: {why}"),
                later: false,
            }),
            None => Ok(None),
        }
    }
}

fn answer(done: Option<Done>, end: Result<(), Refusal>) {
    if let Some(done) = done {
        // The plugin may have stopped waiting.
        let _ = done.send(end);
    }
}

/// The name of a namespace in messages for people.
fn name_of(attachments: &[Attachment]) -> String {
    match (pod_of(attachments), attachments.first()) {
        (Some(pod), _) => format!("pod {}/{}", pod.namespace, pod.name),
        (None, Some(attachment)) => {
            format!("network namespace {}", attachment.netns.path.display())
        }
        (None, None) => "a pod".to_owned(),
    }
}

fn pod_of(attachments: &[Attachment]) -> Option<&vrfgate_core::Pod> {
    attachments.iter().find_map(|one| one.pod.as_ref())
}

/// The pod in the `VrfGateNode`, unless that is an earlier or later pod of the same name.
fn asked_for<'a>(asked: &'a VrfGateNodeSpec, pod: &vrfgate_core::Pod) -> Option<&'a GatePod> {
    asked.pods.iter().find(|asked| {
        asked.namespace == pod.namespace
            && asked.name == pod.name
            && pod.uid.as_ref().is_none_or(|uid| *uid == asked.uid)
    })
}
