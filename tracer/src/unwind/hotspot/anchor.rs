//! The last Java frame of a thread, as the JVM itself notes it when the thread leaves Java code.
//!
//! It is read after the event from a thread that goes on, and so it is believed only where the copied stack agrees.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracer_common::event::ANCHOR_WORDS;

use crate::unwind::memory::{Memory, Unreadable};

use super::layout::{ThreadList, ThreadsLayout};

/// Threads of one JVM.
const MAX_THREADS: u32 = 1 << 16;
/// A list that is replaced while it is read is read again so often at most.
const LIST_READS: usize = 4;
/// The list is walked for an unknown thread at most this often: native threads are in it never.
const RETRY: Duration = Duration::from_millis(100);

/// `JavaFrameAnchor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub sp: u64,
    /// Within the code of the last Java frame, but not its return address in wrappers of native methods; may be 0.
    pub pc: u64,
    /// 0 for compiled frames.
    pub fp: u64,
}

impl Anchor {
    /// Reads the anchor at `address`; None while the thread runs Java code.
    pub fn read(
        layout: &ThreadsLayout,
        word: impl Fn(u64) -> Option<u64>,
        address: u64,
    ) -> Option<Self> {
        let at = |offset| word(address.checked_add(offset)?);
        let anchor = Anchor {
            sp: at(layout.anchor_sp)?,
            pc: at(layout.anchor_pc)?,
            fp: at(layout.anchor_fp)?,
        };
        (anchor.sp != 0 && anchor.sp.is_multiple_of(8)).then_some(anchor)
    }

    /// The anchor whose first words were copied.
    pub fn copied(layout: &ThreadsLayout, words: &[u64; ANCHOR_WORDS]) -> Option<Self> {
        let word = |offset: u64| words.get(usize::try_from(offset / 8).ok()?).copied();
        Self::read(layout, word, 0)
    }
}

/// Whether all that is read of an anchor is in its first words.
fn is_copied(layout: &ThreadsLayout) -> bool {
    [layout.anchor_sp, layout.anchor_pc, layout.anchor_fp]
        .iter()
        .all(|&offset| offset.is_multiple_of(8) && offset < 8 * ANCHOR_WORDS as u64)
}

/// Java threads by the thread id that the JVM knows them by.
#[derive(Debug, Default)]
pub struct Threads {
    by_tid: HashMap<u32, u64>,
    walked: Option<Instant>,
}

impl Threads {
    /// The anchor of thread `tid` now; None for a thread that is not Java's or is in Java code.
    pub fn anchor(
        &mut self,
        memory: &impl Memory,
        layout: &ThreadsLayout,
        tid: u32,
        now: Instant,
    ) -> Option<Anchor> {
        let thread = self.thread(memory, layout, tid, now)?;
        Anchor::read(
            layout,
            |address| memory.read_u64(address).ok(),
            thread.checked_add(layout.anchor)?,
        )
    }

    /// The `JavaThread*` of thread `tid`.
    pub fn thread(
        &mut self,
        memory: &impl Memory,
        layout: &ThreadsLayout,
        tid: u32,
        now: Instant,
    ) -> Option<u64> {
        if let Some(&thread) = self.by_tid.get(&tid)
            && thread_id(memory, layout, thread) == Ok(tid)
        {
            return Some(thread);
        }
        if self
            .walked
            .is_some_and(|walked| now.duration_since(walked) < RETRY)
        {
            return None;
        }
        self.list(memory, layout, now);
        self.by_tid.get(&tid).copied()
    }

    /// Reads the list of all threads.
    fn list(&mut self, memory: &impl Memory, layout: &ThreadsLayout, now: Instant) {
        self.walked = Some(now);
        // A list that is replaced while it is read says nothing: what was known is then kept.
        let read = (0..LIST_READS).find_map(|_| thread_list(memory, layout).ok());
        let Some(threads) = read else {
            return;
        };
        self.by_tid.clear();
        // Threads come and go: what is unreadable is left out.
        for thread in threads {
            if let Ok(tid) = thread_id(memory, layout, thread) {
                self.by_tid.insert(tid, thread);
            }
        }
    }

    /// All threads with the addresses of their anchors; None where these are not as they are copied.
    pub fn anchors(
        &mut self,
        memory: &impl Memory,
        layout: &ThreadsLayout,
        now: Instant,
    ) -> Option<Vec<(u32, u64)>> {
        if !is_copied(layout) {
            return None;
        }
        self.list(memory, layout, now);
        let place = |(&tid, &thread): (&u32, &u64)| Some((tid, thread.checked_add(layout.anchor)?));
        Some(self.by_tid.iter().filter_map(place).collect())
    }
}

fn thread_id(memory: &impl Memory, layout: &ThreadsLayout, thread: u64) -> Result<u32, Unreadable> {
    let os_thread = memory.read_u64(thread.checked_add(layout.os_thread).ok_or(Unreadable)?)?;
    memory.read_u32(os_thread.checked_add(layout.thread_id).ok_or(Unreadable)?)
}

fn thread_list(memory: &impl Memory, layout: &ThreadsLayout) -> Result<Vec<u64>, Unreadable> {
    match layout.list {
        ThreadList::Array {
            address,
            len,
            threads,
        } => {
            let list = memory.read_u64(address)?;
            let count = memory.read_u32(list.wrapping_add(len))?.min(MAX_THREADS);
            let array = memory.read_u64(list.wrapping_add(threads))?;
            let bytes = memory.read_vec(array, count as usize * 8)?;
            // The JVM makes a new list for each thread that comes or goes, and frees the old one.
            if memory.read_u64(address)? != list {
                return Err(Unreadable);
            }
            Ok(bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| u64::from_le_bytes(*bytes))
                .collect())
        }
        ThreadList::Linked { address, next } => {
            let mut found = Vec::new();
            let mut thread = memory.read_u64(address)?;
            while thread != 0 && found.len() < MAX_THREADS as usize {
                found.push(thread);
                thread = memory.read_u64(thread.wrapping_add(next)).unwrap_or(0);
            }
            Ok(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::memory::RecordedMemory;

    fn layout() -> ThreadsLayout {
        ThreadsLayout {
            list: ThreadList::Array {
                address: 0x1000,
                len: 4,
                threads: 16,
            },
            os_thread: 8,
            thread_id: 0,
            anchor: 16,
            anchor_sp: 0,
            anchor_pc: 8,
            anchor_fp: 16,
        }
    }

    fn words(memory: &mut RecordedMemory, address: u64, words: &[u64]) {
        memory.put(
            address,
            &words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<_>>(),
        );
    }

    /// A thread is found by its id; one that is in Java code or not in the list has no anchor.
    #[test]
    fn by_tid() {
        let mut memory = RecordedMemory::default();
        words(&mut memory, 0x1000, &[0x2000]);
        words(&mut memory, 0x2000, &[2 << 32, 0, 0x3000]);
        words(&mut memory, 0x3000, &[0x4000, 0x5000]);
        words(&mut memory, 0x4000, &[0, 0x6000, 0x7f00, 0x1234, 0x7f40]);
        words(&mut memory, 0x5000, &[0, 0x6008, 0, 0, 0]);
        words(&mut memory, 0x6000, &[71, 72]);
        let (mut threads, now) = (Threads::default(), Instant::now());
        let anchor = Anchor {
            sp: 0x7f00,
            pc: 0x1234,
            fp: 0x7f40,
        };
        assert_eq!(threads.anchor(&memory, &layout(), 71, now), Some(anchor));
        assert_eq!(threads.anchor(&memory, &layout(), 72, now), None);
        assert_eq!(threads.anchor(&memory, &layout(), 73, now), None);
    }

    /// A thread that was given another id is not taken for the old one.
    #[test]
    fn reused() {
        let mut memory = RecordedMemory::default();
        words(&mut memory, 0x1000, &[0x2000]);
        words(&mut memory, 0x2000, &[1 << 32, 0, 0x3000]);
        words(&mut memory, 0x3000, &[0x4000]);
        words(&mut memory, 0x4000, &[0, 0x6000, 0x7f00, 0x1234, 0x7f40]);
        words(&mut memory, 0x6000, &[71]);
        let (mut threads, now) = (Threads::default(), Instant::now());
        assert!(threads.anchor(&memory, &layout(), 71, now).is_some());
        words(&mut memory, 0x6000, &[99]);
        assert!(threads.anchor(&memory, &layout(), 71, now).is_none());
        assert!(
            threads
                .anchor(&memory, &layout(), 99, now + RETRY)
                .is_some()
        );
    }
}
