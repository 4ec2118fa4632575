//! The JVM's own word about where a thread's Java frames begin, against that of a walk.
//!
//! When a thread leaves Java code the JVM notes the stack pointer of its last Java frame (`JavaThread::_anchor`). Where a
//! walk passes from native code into Java it has found that frame by itself, so the two can be compared. The programs copy
//! the note with the stack. Of a thread that they had not been told of it is read after the event, while the thread goes
//! on, and then often says nothing about the copy.

use std::time::{Duration, Instant};

use crate::stack::Frame;
use crate::unwind::cursor::CapturedStack;
use crate::unwind::memory::Memory;

use super::HotSpot;
use super::anchor::Anchor;
use super::frames::Walk;
use super::layout::ThreadsLayout;

/// Comparisons with live threads in each period: five reads of the target each, some 2 ms of each second in all.
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
    /// Nothing was noted, or the thread has gone on to another call than the one that was copied.
    Unknown,
    /// The thread's last Java frame is one that the walk did not see, or saw elsewhere.
    Violated,
}

/// What came of all comparisons.
#[derive(Clone, Debug, Default)]
pub struct Comparisons {
    pub agreed: u64,
    pub unknown: u64,
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
            Verdict::Unknown => self.unknown += 1,
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
    /// Compares a walk that passed into Java at `entries` with what the JVM says. `is_whole`: it reached the root.
    pub fn compare<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        entries: &[Entry],
        is_whole: bool,
    ) {
        let Some(layout) = self.layout.threads.clone() else {
            return;
        };
        let verdict = match &walk.anchor {
            Some(words) => {
                let anchor = Anchor::copied(&layout, words);
                let verdict = at_the_time(&walk.stack, anchor, entries, is_whole);
                // A note that leads to no Java frame in the copy is none: a thread that ends has given the note's memory
                // back, and what stands there is somebody else's.
                let mut leads = || anchor.and_then(|anchor| self.at_anchor(walk, &anchor));
                if verdict == Verdict::Violated && leads().is_none() {
                    Verdict::Unknown
                } else {
                    verdict
                }
            }
            None if entries.is_empty() || !self.comparisons.may_check(walk.moment.now) => return,
            None => self.afterwards(walk, &layout, entries, is_whole),
        };
        let native = match entries.first() {
            Some(first) => walk.frames.get(first.native),
            None => walk.frames.last(),
        };
        self.comparisons.count(verdict, native);
    }

    /// With what the JVM says now, of a thread that goes on.
    fn afterwards<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        layout: &ThreadsLayout,
        entries: &[Entry],
        is_whole: bool,
    ) -> Verdict {
        let noted = self
            .threads
            .anchor(walk.memory, layout, walk.tid, walk.moment.now);
        let Some(anchor) = noted else {
            return Verdict::Unknown;
        };
        if entries.iter().any(|entry| is_at(entry, &anchor)) {
            return Verdict::Agreed;
        }
        // Beyond its end a walk has claimed nothing.
        let is_passed = is_whole || entries.last().is_some_and(|last| anchor.sp < last.sp);
        let is_contradiction = is_passed
            && walk.stack.contains(anchor.sp)
            && is_same_call(walk, entries)
            && self.at_anchor(walk, &anchor).is_some();
        match is_contradiction {
            true => Verdict::Violated,
            false => Verdict::Unknown,
        }
    }
}

/// With what the JVM had noted when the stack was copied: the first Java frame of the walk is that of the note. There is
/// none while a thread runs Java code, also where that calls native code without much ado (leaf calls of the runtime).
fn at_the_time(
    stack: &CapturedStack<'_>,
    anchor: Option<Anchor>,
    entries: &[Entry],
    is_whole: bool,
) -> Verdict {
    match (anchor, entries.first()) {
        (None, _) => Verdict::Unknown,
        (Some(anchor), Some(first)) if is_at(first, &anchor) => Verdict::Agreed,
        (Some(_), Some(_)) => Verdict::Violated,
        // Without Java frames: an incomplete walk has not come to them.
        (Some(anchor), None) if is_whole && stack.contains(anchor.sp) => Verdict::Violated,
        (Some(_), None) => Verdict::Unknown,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::ModuleId;
    use crate::unwind::arch::Arch;
    use crate::unwind::{Registers, StackCapture};

    fn verdict(anchor: Option<u64>, entries: &[u64], is_whole: bool) -> Verdict {
        let bytes = [0; 0x100];
        let capture = StackCapture {
            registers: Registers {
                sp: 0x7000,
                ..Registers::default()
            },
            ip_is_return_address: false,
            bytes: &bytes,
            missing: 0,
            taken: Instant::now(),
            truncated: false,
            tid: 1,
            replaced: &[],
            anchor: None,
        };
        let anchor = anchor.map(|sp| Anchor { sp, pc: 0, fp: 0 });
        let entry = |(native, &sp): (usize, &u64)| Entry { sp, native };
        let entries: Vec<Entry> = entries.iter().enumerate().map(entry).collect();
        at_the_time(
            &CapturedStack::new(&capture, Arch::X86_64),
            anchor,
            &entries,
            is_whole,
        )
    }

    /// The first Java frame of the walk has to be that of the note, with up to two words between; where there is no note,
    /// or the walk has not come so far, nothing can be said.
    #[test]
    fn verdicts_at_the_time() {
        assert_eq!(
            verdict(Some(0x7040), &[0x7040, 0x7080], true),
            Verdict::Agreed
        );
        assert_eq!(verdict(Some(0x7050), &[0x7040], false), Verdict::Agreed);
        assert_eq!(verdict(Some(0x7058), &[0x7040], false), Verdict::Violated);
        // Not the first: frames between were taken for native ones, or made up.
        assert_eq!(
            verdict(Some(0x7080), &[0x7040, 0x7080], true),
            Verdict::Violated
        );
        assert_eq!(verdict(Some(0x7038), &[0x7040], true), Verdict::Violated);
        assert_eq!(verdict(Some(0x7040), &[], true), Verdict::Violated);
        assert_eq!(verdict(Some(0x7040), &[], false), Verdict::Unknown);
        assert_eq!(verdict(Some(0x9000), &[], true), Verdict::Unknown);
        assert_eq!(verdict(None, &[0x7040], true), Verdict::Unknown);
    }

    /// Violations are counted by place, in bounded memory; live threads are asked so often and no more.
    #[test]
    fn bounded() {
        let mut found = Comparisons::default();
        for offset in 0..2 * MAX_PLACES as u64 {
            let frame = Frame::Native {
                module: ModuleId(0),
                offset: offset / 2,
            };
            found.count(Verdict::Violated, Some(&frame));
            found.count(Verdict::Agreed, Some(&frame));
        }
        assert_eq!(found.places.len(), MAX_PLACES);
        assert!(found.places.iter().all(|(_, count)| *count == 2));
        assert_eq!((found.agreed, found.violated), (128, 128));
        let now = Instant::now();
        let checks = (0..100).filter(|_| found.may_check(now)).count();
        assert_eq!(checks, CHECKS as usize);
        assert!(found.may_check(now + PERIOD));
    }
}
