//! Looks at whose the target's memory is, at both ends of a trace.

use std::io::ErrorKind;
use std::time::Instant;

use super::Trace;
use crate::capture::{self, Capture};
use crate::reconcile::{self, Tracked};
use crate::target::process::Process;
use crate::triage::read::Looker;
use crate::triage::reading::Summary;

/// One look, or why there is none.
pub(super) type Look = Result<Looked, String>;

pub(super) struct Looked {
    summary: Summary,
    took_ms: f64,
}

/// What the looks found.
pub(super) struct Looks {
    pub start: Look,
    /// The last one; none until then.
    pub end: Option<Look>,
}

/// Looks at the process. Nothing of it is stopped.
pub(super) fn look(process: &Process) -> Look {
    let begun = Instant::now();
    match Looker::new(process).look() {
        Ok(reading) => Ok(Looked {
            summary: Summary::of(&reading),
            took_ms: begun.elapsed().as_secs_f64() * 1000.0,
        }),
        Err(error) if process.ended() || is_gone(&error) => Err("the target had ended".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Looks while `work` is done; both come to their end.
pub(super) fn look_meanwhile<T>(process: &Process, work: impl FnOnce() -> T) -> (Look, T) {
    std::thread::scope(|scope| {
        let looking = std::thread::Builder::new().spawn_scoped(scope, || look(process));
        let done = work();
        let look = match looking {
            Ok(looking) => looking
                .join()
                .unwrap_or_else(|_| Err("the look broke off".to_owned())),
            // No thread is left.
            Err(_) => look(process),
        };
        (look, done)
    })
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

impl Trace {
    pub(super) fn look_at_owners(&mut self) {
        self.looks.end = Some(look(&self.process));
    }

    /// Says in the capture whose the memory is, and how what is tracked accounts for the change.
    pub(super) fn tell_owners(&self, capture: &mut Capture) {
        let Some(end) = &self.looks.end else {
            return;
        };
        let mut owners = capture::Owners::default();
        for (when, look, at) in [
            ("start", &self.looks.start, &mut owners.start),
            ("end", end, &mut owners.end),
        ] {
            match look {
                Ok(look) => {
                    *at = Some(reconcile::at(&look.summary, look.took_ms));
                    let facts = &look.summary.facts;
                    let unknown = facts.malloc.unknown.iter();
                    let unknown =
                        unknown.map(|why| format!("what malloc keeps is not known: {why}"));
                    let missing = unknown.chain(facts.missing.iter().cloned());
                    let missing = missing.map(|what| format!("at the {when}: {what}"));
                    owners.missing.extend(missing);
                }
                Err(reason) => owners.missing.push(format!("at the {when}: {reason}")),
            }
        }
        if let (Ok(start), Ok(end)) = (&self.looks.start, end) {
            let tracked = Tracked::of(&capture.sites, &capture.settings.hooks);
            let (start, end) = (&start.summary, &end.summary);
            capture.memory.reconciliation = Some(reconcile::reconcile(start, end, tracked));
        }
        capture.memory.owners = Some(owners);
    }
}
