//! Where the trace leaves the newest page of metrics, and where those who want one wait for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

/// A page is new enough for so long, however often one is asked for.
const LEAST_AGE: Duration = Duration::from_secs(1);
/// Making pages takes at most one part in so many of the tracer's time: 2 % of a CPU.
const SHARE: u32 = 50;
/// An asker is given the page that there is when no newer one comes within this time.
const PATIENCE: Duration = Duration::from_secs(3);

/// One page of metrics, in both forms that Prometheus asks for.
#[derive(Debug, Default)]
pub struct Page {
    pub open_metrics: String,
    pub plain: String,
}

/// The place itself; one for both sides.
#[derive(Debug)]
pub struct Board {
    newest: Mutex<Option<Newest>>,
    asked: Notify,
    pinned: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Newest {
    page: Arc<Page>,
    pinned: Instant,
    fresh_for: Duration,
}

impl Default for Board {
    fn default() -> Self {
        Board {
            newest: Mutex::default(),
            asked: Notify::new(),
            pinned: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Waits until somebody wants a page that is newer than the newest. Cancelling it loses nothing.
    pub async fn asked(&self) {
        loop {
            self.asked.notified().await;
            // Whoever asked may have been served by a page that was pinned meanwhile.
            if !self.newest().is_some_and(|newest| newest.is_fresh()) {
                return;
            }
        }
    }

    /// Leaves a page that took so long to make.
    pub fn pin(&self, page: Page, took: Duration) {
        let newest = Newest {
            page: Arc::new(page),
            pinned: Instant::now(),
            fresh_for: LEAST_AGE.max(took * SHARE),
        };
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(newest);
        self.pinned.send_modify(|count| *count += 1);
    }

    /// A page that is as new as its price allows. None: the trace has none yet.
    pub async fn page(&self) -> Option<Arc<Page>> {
        let mut pinned = self.pinned.subscribe();
        if let Some(newest) = self.newest().filter(Newest::is_fresh) {
            return Some(newest.page);
        }
        self.asked.notify_one();
        // Either way the newest that there is; the sender lives as long as the board.
        let _ = tokio::time::timeout(PATIENCE, pinned.changed()).await;
        self.newest().map(|newest| newest.page)
    }

    fn newest(&self) -> Option<Newest> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }
}

impl Newest {
    fn is_fresh(&self) -> bool {
        self.pinned.elapsed() < self.fresh_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page {
            plain: text.to_owned(),
            ..Page::default()
        }
    }

    fn paused(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    /// Who asks waits for the trace, which is woken; a second asker right after gets the same page without waking it.
    #[test]
    fn asked_and_answered() {
        paused(async {
            let board = Board::default();
            let (first, ()) = tokio::join!(board.page(), async {
                board.asked().await;
                board.pin(page("one"), Duration::ZERO);
            });
            assert_eq!(first.unwrap().plain, "one");
            assert_eq!(board.page().await.unwrap().plain, "one");
            let woken = tokio::time::timeout(Duration::from_millis(1), board.asked()).await;
            assert!(woken.is_err(), "nobody asked for another one");
        });
    }

    /// A page that was dear is served for longer.
    #[test]
    fn dear_pages_last() {
        let newest = |took| {
            let board = Board::default();
            board.pin(page(""), took);
            board.newest().unwrap().fresh_for
        };
        assert_eq!(newest(Duration::from_millis(1)), LEAST_AGE);
        assert_eq!(newest(Duration::from_secs(2)), Duration::from_secs(100));
    }
}
