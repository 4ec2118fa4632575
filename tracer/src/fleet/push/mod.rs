//! Profiles for stores that collect them: written to a spool by the trace, posted from there by a thread of its own.
//!
//! The spool is the queue, so that a server that is away costs disk and no memory, and what was not taken is tried again
//! by the next run. A profile may arrive twice: when the answer got lost, or when we are killed before the file is gone.

mod backoff;
mod client;
pub mod endpoint;
mod profile;
pub mod spool;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::bundle::Owner;
use crate::capture::Capture;
use crate::exit;
use crate::report::Filter;
use crate::run::priority;
use crate::settings;
use backoff::Backoff;
use client::{Answer, Client, Patience};
use profile::Naming;
use spool::{Entry, Spool};

/// How long the end of a run waits for what is under way.
const GRACE: Duration = Duration::from_secs(5);
/// Another process empties the spool: look again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Times of the sender.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    patience: Patience,
    first_wait: Duration,
    longest_wait: Duration,
}

const PACE: Pace = Pace {
    patience: Patience {
        connect: Duration::from_secs(10),
        whole: Duration::from_secs(60),
    },
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(300),
};

/// Profiles so far, by what became of them, and those that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    pub sent: u64,
    /// Tries that failed and are made again.
    pub retried: u64,
    /// Those that the server never will take.
    pub refused: u64,
    /// Those for which the spool had no room.
    pub dropped: u64,
    pub spooled: u64,
    pub spooled_bytes: u64,
}

/// Pushes profiles until it is finished.
#[derive(Debug)]
pub struct Push {
    spool: Arc<Spool>,
    shared: Arc<Shared>,
    naming: Naming,
    /// End of the period before.
    from: Timestamp,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pushed: Pushed,
    /// Something was put into the spool.
    news: bool,
    stopping: bool,
    ended: bool,
}

impl Push {
    /// Begins to push to what the settings name, from a spool in `folder`; also what an earlier run left there.
    ///
    /// # Errors
    /// The spool can't be made, or no thread can be had.
    pub fn start(settings: &settings::Push, folder: &Path, owner: Option<Owner>) -> Result<Push> {
        let authorization = std::env::var("OFFHEAP_PUSH_AUTHORIZATION").ok();
        if authorization.is_some() && settings.endpoint.url.starts_with("http:") {
            exit::hint("OFFHEAP_PUSH_AUTHORIZATION goes over the network as plain text: use https");
        }
        Push::start_with(settings, folder, owner, authorization, PACE)
    }

    fn start_with(
        settings: &settings::Push,
        folder: &Path,
        owner: Option<Owner>,
        authorization: Option<String>,
        pace: Pace,
    ) -> Result<Push> {
        let name = spool_name(&settings.endpoint.url);
        let spool = Spool::open(folder, &name, owner, settings.spool_bytes)
            .with_context(|| format!("cannot keep a spool in {}", folder.join(&name).display()))?;
        let push = Push {
            spool: Arc::new(spool),
            shared: Arc::default(),
            naming: Naming {
                labels: settings.labels.clone(),
                hostname: hostname(),
            },
            from: Timestamp::now(),
        };
        let sender = Sender {
            spool: Arc::clone(&push.spool),
            shared: Arc::clone(&push.shared),
            client: Client::new(settings.endpoint.clone(), authorization, pace.patience),
            backoff: Backoff::new(pace.first_wait, pace.longest_wait),
            to: settings.endpoint.url.clone(),
            failing: false,
        };
        std::thread::Builder::new()
            .name("offheap-push".to_owned())
            .spawn(move || sender.run())
            .context("cannot start the thread that pushes profiles")?;
        Ok(push)
    }

    /// Puts the capture into the spool and returns; it is posted as soon as it can be.
    ///
    /// # Errors
    /// The spool can't be written.
    pub fn add(&mut self, capture: &Capture, filter: &Filter) -> Result<()> {
        let until = Timestamp::now();
        let entry = profile::entry(capture, filter, &self.naming, self.from, until)?;
        self.from = until;
        self.add_entry(&entry)
    }

    fn add_entry(&self, entry: &Entry) -> Result<()> {
        let added = self.spool.add(entry);
        let mut state = self.shared.lock();
        match &added {
            Ok(dropped) => state.pushed.dropped += dropped,
            Err(_) => state.pushed.dropped += 1,
        }
        state.news = true;
        drop(state);
        self.shared.changed.notify_all();
        added
            .map(drop)
            .with_context(|| format!("cannot spool a profile in {}", self.spool.path().display()))
    }

    pub fn pushed(&self) -> Pushed {
        let fill = self.spool.fill();
        Pushed {
            spooled: fill.profiles,
            spooled_bytes: fill.bytes,
            ..self.shared.lock().pushed
        }
    }

    /// Waits a little for what is there to be posted, and says what stays for the next run.
    pub fn finish(self) {
        let deadline = Instant::now() + GRACE;
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        drop(self.shared.wait(deadline, |state| state.ended));
        let waits = self.spool.fill().profiles;
        if waits > 0 {
            exit::hint(&format!(
                "{waits} profiles wait in {}: the next watch with the same --push and -o posts them",
                self.spool.path().display()
            ));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is so, or for the time.
    fn wait(&self, until: Instant, so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !so(&state) {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                break;
            };
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

/// The thread that posts.
struct Sender {
    spool: Arc<Spool>,
    shared: Arc<Shared>,
    client: Client,
    backoff: Backoff,
    to: String,
    /// The last try failed, and that was said.
    failing: bool,
}

impl Sender {
    fn run(mut self) {
        priority::usual();
        if let Err(error) = self.work() {
            exit::hint(&format!(
                "nothing is pushed any more: {error:#}; watching goes on"
            ));
        }
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }

    /// Until it is stopped: then what is there is posted, but nothing is tried again.
    fn work(&mut self) -> Result<()> {
        while !self.spool.try_lock()? {
            if self.pause(LOOK_AGAIN) {
                return Ok(());
            }
        }
        loop {
            self.shared.lock().news = false;
            match self.spool.oldest()? {
                Some((name, entry)) => {
                    let wait = self.post(&name, &entry)?;
                    if wait.is_some_and(|wait| self.pause(wait)) {
                        return Ok(());
                    }
                }
                None => {
                    let forever = Instant::now() + Duration::from_secs(3600);
                    let state = self
                        .shared
                        .wait(forever, |state| state.news || state.stopping);
                    if state.stopping && !state.news {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One try; the time to wait after a failure.
    fn post(&mut self, name: &str, entry: &Entry) -> Result<Option<Duration>> {
        match self.client.send(entry) {
            Answer::Taken => {
                self.spool.remove(name)?;
                self.shared.lock().pushed.sent += 1;
                self.backoff.succeeded();
                if std::mem::take(&mut self.failing) {
                    exit::hint(&format!("{} takes profiles again", self.to));
                }
                Ok(None)
            }
            Answer::Refused(why) => {
                self.spool.remove(name)?;
                self.shared.lock().pushed.refused += 1;
                exit::hint(&format!(
                    "{} refused a profile, which is not sent again: {why}",
                    self.to
                ));
                Ok(None)
            }
            Answer::Failed { why, after } => {
                self.shared.lock().pushed.retried += 1;
                let wait = self.backoff.failed(after);
                if !std::mem::replace(&mut self.failing, true) {
                    exit::hint(&format!(
                        "{} can't be given a profile: {why}; it waits on disk and is tried again",
                        self.to
                    ));
                }
                Ok(Some(wait))
            }
        }
    }

    /// Waits; true when it is to stop.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        self.shared.wait(until, |state| state.stopping).stopping
    }
}

/// One spool per server, so that what was meant for one is not given to another.
fn spool_name(url: &str) -> String {
    let hash = Sha256::digest(url);
    let hash: String = hash
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(".push-{hash}")
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// A label: its name as Prometheus has them, and its value.
///
/// # Errors
/// A sentence for the user.
pub fn label(typed: &str) -> Result<(String, String), String> {
    let (name, value) = typed
        .split_once('=')
        .ok_or("give a name and a value, as in env=prod")?;
    let mut letters = name.chars();
    let begins = letters
        .next()
        .is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
    let goes_on = letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if !begins || !goes_on || name.starts_with("__") {
        return Err(format!(
            "`{name}` is no name of a label: letters, digits and `_`, not first a digit or `__`"
        ));
    }
    if value.len() > 512 || value.chars().any(char::is_control) {
        return Err(format!(
            "the value of `{name}` is too long or not printable"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// All labels by name; of two with one name the last counts.
pub fn labels(typed: &[(String, String)]) -> BTreeMap<String, String> {
    typed.iter().cloned().collect()
}

#[cfg(test)]
mod tests;
