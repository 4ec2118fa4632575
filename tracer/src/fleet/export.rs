//! What `watch` does besides its bundles.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::board::Board;
use super::listen::{self, Server};
use super::metrics::{Bundles, Metrics, Moment};
use super::push::Push;
use crate::capture::Capture;
use crate::exit;
use crate::report::Filter;
use crate::settings;

/// Metrics and pushed profiles; either, both or none.
#[derive(Debug, Default)]
pub struct Export {
    listening: Option<Listening>,
    push: Option<Push>,
    bundles: Bundles,
}

#[derive(Debug)]
struct Listening {
    board: Arc<Board>,
    metrics: Metrics,
    _server: Server,
}

/// A capture, and what it does not say.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    pub capture: &'a Capture,
    /// How long it took to make.
    pub took: Duration,
    /// The sampling interval now, in bytes.
    pub sample_bytes: u64,
}

/// Takes the address of the metrics.
///
/// # Errors
/// When it can't be had.
pub fn bind(settings: &settings::Export) -> Result<Option<TcpListener>> {
    settings.listen.map(listen::bind).transpose()
}

impl Export {
    /// Shows metrics to those who come to `listener`, with at most so many sites.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn listen(&mut self, listener: TcpListener, sites: usize) -> Result<()> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            exit::hint(&format!(
                "anybody who reaches {address} can read the metrics: there is no password"
            ));
        }
        let board = Arc::new(Board::default());
        self.listening = Some(Listening {
            _server: Server::start(listener, Arc::clone(&board))?,
            board,
            metrics: Metrics::new(sites),
        });
        exit::say(&format!("metrics at http://{address}/metrics"));
        Ok(())
    }

    /// Pushes a profile per period.
    pub fn push(&mut self, push: Push) {
        self.push = Some(push);
    }

    /// Waits until somebody wants newer metrics; for ever where nobody can. Cancelling it loses nothing.
    pub async fn asked(&self) {
        match &self.listening {
            Some(listening) => listening.board.asked().await,
            None => std::future::pending().await,
        }
    }

    /// Says what became of a bundle.
    pub fn bundle<T>(&mut self, written: &Result<T>) {
        match written {
            Ok(_) => self.bundles.written += 1,
            Err(_) => self.bundles.failed += 1,
        }
    }

    /// Shows a capture that was made between two bundles.
    pub fn show(&mut self, taken: Taken<'_>) {
        let begin = Instant::now();
        let pushed = self.push.as_ref().map(Push::pushed);
        let Some(listening) = &mut self.listening else {
            return;
        };
        let page = listening.metrics.page(Moment {
            capture: taken.capture,
            sample_bytes: taken.sample_bytes,
            took: taken.took,
            bundles: self.bundles,
            pushed,
        });
        // Writing to memory does not fail.
        if let Ok(page) = page {
            listening.board.pin(page, taken.took + begin.elapsed());
        }
    }

    /// Shows and pushes a capture of which a bundle was made.
    pub fn period(&mut self, taken: Taken<'_>, filter: &Filter) {
        if let Some(push) = &mut self.push
            && let Err(error) = push.add(taken.capture, filter)
        {
            exit::hint(&format!("{error:#}; watching goes on"));
        }
        self.show(taken);
        if let Some(listening) = &mut self.listening {
            listening.metrics.period(taken.capture);
        }
    }

    /// Gives what waits to be pushed a little time; the rest stays for the next run.
    pub fn finish(self) {
        if let Some(push) = self.push {
            push.finish();
        }
    }
}
