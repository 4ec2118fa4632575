//! Signals: SIGINT and SIGTERM ask for the final report, SIGUSR1 for one now.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The handlers; installed before the attach, so that no signal is too early to be heard.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    snapshot: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Finish,
    Snapshot,
}

impl Signals {
    /// Must be called within a tokio runtime.
    pub fn listen() -> Result<Signals> {
        let handler = |kind| signal(kind).context("cannot handle signals");
        Ok(Signals {
            interrupt: handler(SignalKind::interrupt())?,
            terminate: handler(SignalKind::terminate())?,
            snapshot: handler(SignalKind::user_defined1())?,
        })
    }

    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.interrupt.recv() => Request::Finish,
            _ = self.terminate.recv() => Request::Finish,
            _ = self.snapshot.recv() => Request::Snapshot,
        }
    }

    /// From now on SIGINT ends the process at once; the kernel then takes the probes away.
    pub fn let_go(self) {
        // SAFETY: SIG_DFL is a valid disposition for SIGINT.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    }
}
