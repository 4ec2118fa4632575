//! The JVM's own word about where a thread's Java frames begin, against that of a walk.
//!
//! When a thread leaves Java code the JVM notes the stack pointer of its last Java frame (`JavaThread::_anchor`). Where a
//! walk passes from native code into Java it has found that frame by itself, so the two can be compared. The note is
//! read after the event from a thread that goes on, which is why a comparison has three outcomes and not two.

use std::time::{Duration, Instant};

use crate::stack::Frame;
use crate::unwind::memory::Memory;

use super::HotSpot;
use super::anchor::Anchor;
use super::frames::Walk;

/// Comparisons in each period: five reads of the target each, some 2 ms of each second in all.
const CHECKS: u32 = 10;
const PERIOD: Duration = Duration::from_millis(20);
/// Calls through `call_VM` leave up to two words between the frame and the note (interpreter, x86_64).
const BETWEEN: [u64; 3] = [0, 8, 16];
/// Places of violations that are remembered.
const MAX_PLACES: usize = 64;

/// Where a walk passed from native code into Java.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of the Java frame.
    pub sp: u64,
    /// Index of the native frame that it called; frames are leaf first.
    pub native: usize,
}

/// What came of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The thread's last Java frame is one that the walk entered from native code.
    Agreed,
    /// The thread has gone on: it is in Java code, or in another call than the one that was copied.
    MovedOn,
    /// The copied stack shows the thread's last Java frame where the walk saw none.
    Violated,
}

/// What came of all comparisons.
#[derive(Clone, Debug, Default)]
pub struct Comparisons {
    pub agreed: u64,
    pub moved_on: u64,
    pub violated: u64,
    /// The native frames above the Java frames that should have been others, as a walk sees them, and how often.
    pub places: Vec<(Frame, u64)>,
    period: Option<Instant>,
    left: u32,
}

impl Comparisons {
    /// Whether there is time for one more.
    fn may_check(&mut self, now: Instant) -> bool {
        let is_over = |began| now.duration_since(began) >= PERIOD;
        if self.period.is_none_or(is_over) {
            self.period = Some(now);
            self.left = CHECKS;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    fn count(&mut self, verdict: Verdict, native: Option<&Frame>) {
        match verdict {
            Verdict::Agreed => self.agreed += 1,
            Verdict::MovedOn => self.moved_on += 1,
            Verdict::Violated => self.violated += 1,
        }
        let Some(frame) = native.filter(|_| verdict == Verdict::Violated) else {
            return;
        };
        if let Some((_, count)) = self.places.iter_mut().find(|(place, _)| place == frame) {
            *count += 1;
        } else if self.places.len() < MAX_PLACES {
            self.places.push((frame.clone(), 1));
        }
    }
}

impl HotSpot {
    /// Compares a walk that passed into Java at `entries` with what the JVM knows of the thread now, as often as there
    /// is time for it. `is_whole`: the walk reached the thread's root.
    pub fn compare<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        entries: &[Entry],
        is_whole: bool,
    ) {
        let Some(first) = entries.first().copied() else {
            return;
        };
        if !self.comparisons.may_check(walk.now) {
            return;
        }
        if let Some(verdict) = self.verdict(walk, entries, is_whole) {
            let native = walk.frames.get(first.native);
            self.comparisons.count(verdict, native);
        }
    }

    /// None where threads can't be found in this JVM.
    fn verdict<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        entries: &[Entry],
        is_whole: bool,
    ) -> Option<Verdict> {
        let layout = self.layout.threads.clone()?;
        let noted = self
            .threads
            .anchor(walk.memory, &layout, walk.tid, walk.now);
        let Some(anchor) = noted else {
            return Some(Verdict::MovedOn);
        };
        if entries.iter().any(|entry| is_at(entry, &anchor)) {
            return Some(Verdict::Agreed);
        }
        // Beyond its end a walk has claimed nothing.
        let is_passed = is_whole || entries.last().is_some_and(|last| anchor.sp < last.sp);
        let is_contradiction = is_passed
            && walk.stack.contains(anchor.sp)
            && is_same_call(walk, entries)
            && self.at_anchor(walk, &anchor).is_some();
        Some(match is_contradiction {
            true => Verdict::Violated,
            false => Verdict::MovedOn,
        })
    }
}

fn is_at(entry: &Entry, anchor: &Anchor) -> bool {
    BETWEEN
        .iter()
        .any(|between| anchor.sp.checked_sub(*between) == Some(entry.sp))
}

/// Whether the call out of the Java frame is still under way: its return address is where it was. (Else bytes of calls
/// that are over, in a native frame that has not overwritten them, could pass for a Java frame of now.)
fn is_same_call<M: Memory>(walk: &Walk<'_, M>, entries: &[Entry]) -> bool {
    entries.iter().all(|entry| {
        let slot = entry.sp.wrapping_sub(8);
        let copied = walk.stack.word(slot).ok();
        copied.is_some() && copied == walk.memory.read_u64(slot).ok()
    })
}
