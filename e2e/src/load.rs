//! A client that keeps connecting while things change around it, and writes down every surprise.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Host, Outcome, soon};

/// Pace of the attempts: 200 a second, where the machine can do that.
const PACE: Duration = Duration::from_millis(5);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Connects in turn to ports that must answer and to ports that must be closed, until dropped.
#[derive(Debug)]
pub struct Load {
    attempts: Arc<AtomicU32>,
    surprises: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(client: &Host, open: Vec<SocketAddr>, closed: Vec<SocketAddr>) -> Self {
        let mut load = Self {
            attempts: Arc::default(),
            surprises: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (attempts, surprises, stop) = (
            load.attempts.clone(),
            load.surprises.clone(),
            load.stop.clone(),
        );
        let client = client.clone();
        let targets: Vec<(SocketAddr, bool)> = open
            .into_iter()
            .map(|to| (to, true))
            .chain(closed.into_iter().map(|to| (to, false)))
            .collect();
        let work = move || {
            for (to, is_open) in targets.into_iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let due = Instant::now() + PACE;
                let outcome = connect(to);
                if matches!(outcome, Outcome::Reached(_)) != is_open {
                    let surprise = format!("attempt on {to} {outcome}");
                    locked(&surprises).push(surprise);
                }
                attempts.fetch_add(1, Ordering::Relaxed);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        };
        load.thread = Some(thread::spawn(move || client.netns().enter(work)));
        load
    }

    /// Attempts made so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Waits until this many more attempts have been made.
    #[track_caller]
    pub fn go_on(&self, attempts: u32) {
        let enough = self.attempts() + attempts;
        soon("the client goes on", || self.attempts() >= enough);
    }

    /// Every attempt ended as it had to.
    #[track_caller]
    pub fn should_have_met_no_surprise(&self) {
        let surprises = locked(&self.surprises);
        assert!(
            surprises.is_empty(),
            "{} of {} attempts ended wrongly: {}",
            surprises.len(),
            self.attempts(),
            surprises.join("; ")
        );
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Nothing is left to be said about a test that ends.
            let _ = thread.join();
        }
    }
}

fn connect(to: SocketAddr) -> Outcome {
    let answer = TcpStream::connect_timeout(&to, TIMEOUT).and_then(|stream| {
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    });
    answer.map_or_else(|error| Outcome::of(&error), Outcome::Reached)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
