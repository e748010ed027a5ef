//! The node's pods: whatever the CNI plugin has attached is looked after here, and gets the rules of the leaks that
//! select the pod. Who is attached is told by the plugin's records; what it says on the socket only hastens it.

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
    Attachment, Attachments, Key, Survey, Whereabouts,
    agent::{Event, Notice},
};
use vrfgate_ebpf::{Store, is_shortage};

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

/// How often the plugin's records are read, where it could not tell of them.
const READ_EVERY: Duration = Duration::from_secs(2);

/// How long a record that the plugin is about to remove counts as removed.
const LEAVING: Duration = Duration::from_secs(10);

/// What a pod's gate is known by: its namespace's cookie.
type Cookie = u64;

/// The pods of this node.
pub struct Pods {
    store: Store,
    attachments: Attachments,
    settings: Settings,
    /// As the `VrfGateNode` has it. Until that is known, every pod keeps what it has.
    asked: Option<VrfGateNodeSpec>,
    /// With what was asked of each last; `None` where the gate is to go.
    gates: BTreeMap<Cookie, (PodGate, Option<Wanted>)>,
    /// Those that should have a gate and that nobody looks after, each with the reason. Tried again at each look.
    waiting: BTreeMap<Cookie, State>,
    places: Places,
    /// The attachments that were read last.
    known: BTreeMap<Cookie, Vec<Attachment>>,
    leaving: BTreeMap<Key, Instant>,
    heard: mpsc::Receiver<Heard>,
    _place: socket::Place,
    changed: Arc<Notify>,
    read: Interval,
}

/// Something for [`Pods::attend`].
pub enum PodStir {
    /// The plugin has something to say.
    Heard(Box<Heard>),
    /// A pod's gate has.
    Changed,
    /// It is time to read the records.
    Due,
}

impl Pods {
    /// Listens for the plugin. The agent may have so many files open.
    pub fn start(store: &Store, settings: Settings, open_files: u64) -> anyhow::Result<Self> {
        let (heard, place) = socket::listen(store)?;
        Ok(Self {
            store: store.clone(),
            attachments: Attachments::of(store),
            settings,
            asked: None,
            gates: BTreeMap::new(),
            waiting: BTreeMap::new(),
            places: Places::within(open_files),
            known: BTreeMap::new(),
            leaving: BTreeMap::new(),
            heard,
            _place: place,
            changed: Arc::new(Notify::new()),
            read: interval(READ_EVERY),
        })
    }

    /// Waits until there is something to look at.
    pub async fn stirred(&mut self) -> PodStir {
        tokio::select! {
            Some(heard) = self.heard.recv() => PodStir::Heard(Box::new(heard)),
            () = self.changed.notified() => PodStir::Changed,
            _ = self.read.tick() => PodStir::Due,
        }
    }

    /// Looks at it.
    pub fn attend(&mut self, stir: PodStir) {
        match stir {
            PodStir::Heard(heard) => self.hear(*heard),
            PodStir::Changed => {
                let before = self.gates.len();
                self.gates.retain(|_, (gate, _)| !gate.is_over());
                if self.gates.len() < before && !self.waiting.is_empty() {
                    self.look(None);
                }
            }
            PodStir::Due => {
                self.gates.retain(|_, (gate, _)| !gate.is_over());
                self.look(None);
            }
        }
    }

    /// Puts what another edition of the `VrfGateNode` says into force.
    pub fn follow(&mut self, asked: &VrfGateNodeSpec) {
        self.asked = Some(asked.clone());
        self.look(None);
    }

    /// There is no `VrfGateNode`: pods keep what they have been given, and those that come get what their network
    /// configurations say.
    pub fn follow_nobody(&mut self) {
        if self.asked.is_none() {
            self.follow(&VrfGateNodeSpec::default());
        }
    }

    /// What has become of each pod, and of each leak that is for pods.
    pub fn outcomes(&self) -> (Vec<PodOutcome>, Vec<LeakOutcome>) {
        let gates = self.gates.iter();
        let gates = gates.map(|(cookie, (gate, _))| (cookie, gate.state()));
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|(cookie, state)| (cookie, state.clone()));
        let states: Vec<_> = gates
            .chain(waiting)
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
        self.look(Some((attachment.netns.cookie, done)));
    }

    /// Brings every namespace in line with the records. `awaited` wants to know when that of one namespace is.
    fn look(&mut self, awaited: Option<(Cookie, Done)>) {
        let Some(asked) = self.asked.clone() else {
            // The plugin has put in what it was told to; there is nothing that could be added yet.
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
            .chain(self.waiting.keys())
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
            // A namespace that nothing is known of: there is nothing to be done.
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
            self.waiting.remove(&cookie);
            if let Some((gate, last)) = self.gates.get_mut(&cookie)
                && (last.take().is_some() || done.is_some())
            {
                done = gate.take_away(done).err().flatten();
            }
            // There is nothing, or nothing any more.
            answer(done, Ok(()));
            return;
        };
        let pod = pod_of(attachments).and_then(|pod| asked_for(asked, pod));
        let wanted = Wanted::new(attachments, pod, &asked.pod_leaks);
        if let Some((gate, last)) = self.gates.get_mut(&cookie) {
            // Who waits shall know that it is in force, not only that it was asked for.
            if last.as_ref() == Some(&wanted) && done.is_none() && !gate.is_over() {
                return;
            }
            match gate.put(wanted.clone(), done) {
                Ok(()) => {
                    *last = Some(wanted);
                    return;
                }
                // It came to its end just now: there will be another one.
                Err(unheard) => done = unheard,
            }
        }
        match self.begin(attachments, survey) {
            Ok(Some(gate)) => {
                self.waiting.remove(&cookie);
                // It is new, and hears what it is told.
                let _ = gate.put(wanted.clone(), done);
                self.gates.insert(cookie, (gate, Some(wanted)));
            }
            // Gone, or of another boot: its record is the plugin's to remove.
            Ok(None) => {
                self.waiting.remove(&cookie);
                let why = "the network namespace is gone".to_owned();
                answer(done, Err(Refusal { why, later: false }));
            }
            Err(refusal) => {
                let state = State {
                    wanted,
                    trouble: Some(refusal.clone()),
                    ..State::default()
                };
                let before = self.waiting.insert(cookie, state);
                if before.and_then(|before| before.trouble).as_ref() != Some(&refusal) {
                    warn!("{}: {}", name_of(attachments), refusal.why);
                }
                answer(done, Err(refusal));
            }
        }
    }

    /// Begins to look after a namespace, if it is there.
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
            let found = attachment.netns.find(survey);
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
        // Who asked may have lost patience.
        let _ = done.send(end);
    }
}

/// What a person knows a namespace by.
fn name_of(attachments: &[Attachment]) -> String {
    match (pod_of(attachments), attachments.first()) {
        (Some(pod), _) => format!("pod {}/{}", pod.namespace, pod.name),
        (None, Some(attachment)) => {
            format!("network namespace {}", attachment.netns.path.display())
        }
        (None, None) => "a pod".to_owned(),
    }
}

fn pod_of(attachments: &[Attachment]) -> Option<&vrfgate_cni::Pod> {
    attachments.iter().find_map(|one| one.pod.as_ref())
}

/// The pod as the `VrfGateNode` has it, unless that means one that bore the name before or after.
fn asked_for<'a>(asked: &'a VrfGateNodeSpec, pod: &vrfgate_cni::Pod) -> Option<&'a GatePod> {
    asked.pods.iter().find(|asked| {
        asked.namespace == pod.namespace
            && asked.name == pod.name
            && pod.uid.as_ref().is_none_or(|uid| *uid == asked.uid)
    })
}
