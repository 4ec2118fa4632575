//! The event loop that all traced commands share.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::priority;
use super::signals::{Request, Signals};
use crate::capture::Capture;
use crate::exit;
use crate::threshold::{Level, Thresholds};
use crate::trace::{Target, Trace};

/// Records wait in the ring for so long. Waking us from inside a probe would cost the target more than the probe.
const DRAIN: Duration = Duration::from_millis(10);
/// The same while records come: a JVM may replace the code that a stack tells of before it is walked.
const BUSY_DRAIN: Duration = Duration::from_millis(3);
/// After so many drains without a record the next record is to wake us.
const QUIET: u32 = 5;
/// Then the ring is still looked at so often: a record that was on its way when we asked for the wake-up does without.
const ASLEEP: Duration = Duration::from_millis(100);
/// A library is hooked within a second of being mapped.
const REFRESH: Duration = Duration::from_millis(500);
/// The cost is looked at so often; two readings above the budget have something done about it.
const GOVERN: Duration = Duration::from_millis(250);
/// Memory is compared with the thresholds so often; a look takes some 0.1 ms.
const LOOK: Duration = Duration::from_millis(100);

/// A trace with its clock.
pub struct Session {
    pub trace: Trace,
    signals: Signals,
    drain: Interval,
    /// Drains since the last record.
    quiet: u32,
    refresh: Interval,
    govern: Interval,
    looks: Interval,
    thresholds: Thresholds,
    /// Why a snapshot is due, where nobody has asked for it.
    passed: Option<String>,
    ring: AsyncFd<OwnedFd>,
    /// News that wait to be shown, where stderr is not the place for them.
    kept: Option<Vec<String>>,
}

/// Why the loop hands back control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The moment that was waited for has come.
    Due,
    /// The user wants a report now, and to go on; or a threshold was passed.
    Snapshot,
    /// The user wants the final report.
    Finish,
    TargetEnded,
}

impl Session {
    /// # Errors
    /// When the ring can't be waited for, or looked after.
    pub fn new(mut trace: Trace, signals: Signals, levels: &[Level]) -> Result<Session> {
        // SAFETY: the descriptor is owned by the registration, so that it stays open and the same until it is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(trace.ring()?, Interest::READABLE) }
            .map_err(std::io::Error::from)?;
        // A tracer that may not is late on a busy machine, and says of which stacks it was too late.
        priority::raise();
        trace.relieve_ring(priority::hurry)?;
        Ok(Session {
            ring,
            kept: None,
            trace,
            signals,
            drain: every(DRAIN),
            quiet: 0,
            refresh: every(REFRESH),
            govern: every(GOVERN),
            looks: every(LOOK),
            thresholds: Thresholds::new(levels),
            passed: None,
        })
    }

    /// Keeps the books until something is to be done; `due` None waits for signals and the target's end alone.
    pub async fn next(&mut self, due: Option<Instant>) -> Result<Wake> {
        loop {
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                request = self.signals.next() => return Ok(match request {
                    Request::Finish => Wake::Finish,
                    Request::Snapshot => Wake::Snapshot,
                }),
                _ = due => return Ok(Wake::Due),
                _ = self.refresh.tick() => {
                    if self.trace.refresh()? == Target::Ended {
                        return Ok(Wake::TargetEnded);
                    }
                }
                _ = sleep_until(Instant::from_std(self.trace.reading_due())) => self.trace.read()?,
                _ = self.govern.tick() => {
                    self.trace.govern()?;
                    let news = self.trace.news();
                    self.tell(news);
                }
                _ = self.looks.tick(), if !self.thresholds.is_idle() => {
                    self.passed = self.thresholds.passed(self.trace.usage());
                    if self.passed.is_some() {
                        self.tell(self.passed.clone().into_iter().collect());
                        return Ok(Wake::Snapshot);
                    }
                }
                urgent = self.ring.readable() => {
                    urgent?.clear_ready();
                    self.drain()?;
                }
                _ = self.drain.tick() => {
                    self.drain()?;
                    if self.trace.process.ended() {
                        return Ok(Wake::TargetEnded);
                    }
                }
            }
        }
    }

    /// Books what waits, and says when to come again.
    fn drain(&mut self) -> Result<()> {
        self.quiet = match self.trace.drain()? {
            true => 0,
            false => self.quiet.saturating_add(1),
        };
        if self.quiet == QUIET {
            self.trace.ask_to_be_woken()?;
        }
        self.drain.reset_after(match self.quiet {
            0 => BUSY_DRAIN,
            1..=QUIET => DRAIN,
            _ => ASLEEP,
        });
        Ok(())
    }

    /// A threshold was passed, and no snapshot was taken for it yet.
    pub fn has_passed(&self) -> bool {
        self.passed.is_some()
    }

    /// Everything that is outstanding now, with why it was asked for, where a threshold was.
    pub fn capture(&mut self) -> Result<Capture> {
        let mut capture = self.trace.capture()?;
        capture.notes.extend(self.passed.take());
        Ok(capture)
    }

    /// From now on news are kept until they are asked for.
    pub fn keep_news(&mut self) {
        self.kept.get_or_insert_default();
    }

    /// What there was to tell since it was last asked.
    pub fn kept_news(&mut self) -> Vec<String> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn tell(&mut self, news: Vec<String>) {
        match &mut self.kept {
            Some(kept) => kept.extend(news),
            None => news.iter().for_each(|line| exit::say(line)),
        }
    }

    /// Detaches and makes the last capture. A further SIGINT ends everything at once, but not during the detach: a kill
    /// in the middle of it can leave breakpoints in the target (seen on 6.18: `failed to unregister, leaking uprobe`).
    pub fn finish(mut self) -> Result<Capture> {
        self.trace.stop()?;
        self.trace.drain()?;
        // Who keeps news has the terminal; the report's notes say the same.
        if self.kept.is_none() {
            let doubts = self.trace.doubts_now()?;
            doubts.iter().for_each(|line| exit::say(line));
        }
        self.signals.let_go();
        self.trace.finish()
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
