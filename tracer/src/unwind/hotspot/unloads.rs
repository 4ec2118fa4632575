//! Whether classes were unloaded: the JVM's own count of them.
//!
//! A method that a stack is in belongs to a loaded class, and stays where it is as long as that is loaded. The JVM counts a
//! class when a collection has found it unused, before its memory is given back (`InstanceKlass::unload_class`, 8 to 28;
//! the performance counter `java.cls.unloadedClasses`). Where the count is the same before a stack was taken and after its
//! frames were read, no class of its methods was unloaded between.

use std::time::Instant;

use crate::unwind::memory::{Memory, Piece};

use super::blob::Record;
use super::moment::{Look, Moment};
use super::vm_structs::VmStructs;

/// Bytes of all counters: 32 KiB unless the JVM was told otherwise.
const MAX_BYTES: u32 = 1 << 20;
/// A JVM has some 300.
const MAX_ENTRIES: u32 = 1 << 13;
const MAX_NAME: usize = 64;
const COUNTER: &str = "java.cls.unloadedClasses";

/// `PerfDataPrologue`: the bytes CA FE C0 C0, bytes that are used, and where the entries are (8 to 28).
const PROLOGUE: usize = 32;
const MAGIC: u32 = 0xc0c0_feca;
const USED: u64 = 8;
const FIRST_ENTRY: u64 = 24;
const ENTRIES: u64 = 28;
/// `PerfDataEntry`: its length, and where its name and its value are.
const ENTRY: usize = 20;
const ENTRY_NAME: u64 = 4;
const ENTRY_VALUE: u64 = 16;

/// The count, and since when it is what it is.
#[derive(Debug, Default)]
pub struct Unloads {
    counter: Option<u64>,
    count: Option<u64>,
    since: Option<Instant>,
    /// Stacks that were walked since the last look.
    walked: Vec<u32>,
}

impl Unloads {
    /// Finds the counter, if the JVM has it, and looks at it.
    pub fn find(structs: &VmStructs, memory: &impl Memory) -> Self {
        let start = structs.field(&[("PerfMemory", "_start")]);
        let start = start.and_then(|field| memory.read_u64(field.address).ok());
        let mut unloads = Unloads {
            counter: start.and_then(|start| counter(memory, start)),
            ..Unloads::default()
        };
        unloads.settle(memory);
        unloads
    }

    /// `moment` with what is known of classes. What is believed by that is looked at when the walk is over.
    pub fn at(&mut self, moment: Moment) -> Moment {
        // What is not looked at later is not believed.
        let classes = match moment.look {
            Look::Later => self.since,
            Look::Now => self.since.map(|_| moment.now),
        };
        if moment.look == Look::Later && self.counter.is_some() {
            self.walked.push(moment.stack);
        }
        Moment { classes, ..moment }
    }

    /// Whether something was believed.
    pub fn is_believed(&self) -> bool {
        !self.walked.is_empty()
    }

    /// What [`Unloads::settle`] reads.
    pub fn piece(&self) -> Option<Piece> {
        self.counter.map(|address| Piece { address, len: 8 })
    }

    /// Looks at the count. Returns the stacks that have believed that it is the same. Of a process that has ended all is
    /// as it was.
    pub fn settle(&mut self, memory: &impl Memory) -> Vec<u32> {
        let walked = std::mem::take(&mut self.walked);
        let count = self.counter.and_then(|at| memory.read_u64(at).ok());
        if count.is_none() || count == self.count {
            return Vec::new();
        }
        (self.count, self.since) = (count, Some(Instant::now()));
        walked
    }
}

/// Where the counter is, among those at `start`.
fn counter(memory: &impl Memory, start: u64) -> Option<u64> {
    let prologue = Record(memory.read_vec(start, PROLOGUE).ok()?);
    let word = |at| prologue.u32(at).ok();
    let used = word(USED).filter(|&used| used <= MAX_BYTES)?;
    let entries = word(ENTRIES)?.min(MAX_ENTRIES);
    if word(0) != Some(MAGIC) {
        return None;
    }
    let end = start.checked_add(u64::from(used))?;
    let mut at = start.checked_add(u64::from(word(FIRST_ENTRY)?))?;
    for _ in 0..entries {
        let entry = Record(memory.read_vec(at, ENTRY).ok()?);
        let place = |field| at.checked_add(u64::from(entry.u32(field).ok()?));
        let next = place(0).filter(|&next| next > at && next <= end)?;
        let name = memory.read_name(place(ENTRY_NAME)?, MAX_NAME);
        if name.is_ok_and(|name| name == COUNTER) {
            return place(ENTRY_VALUE);
        }
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::unwind::hotspot::vm_structs::Field;
    use crate::unwind::memory::RecordedMemory;

    const POINTER: u64 = 0x1000;
    const START: u64 = 0x2000;
    const VALUE: u64 = START + 32 + 64 + 56;

    fn put_words(memory: &mut RecordedMemory, address: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.put(address, &bytes);
    }

    /// Two counters of 64 bytes each, the second one that of unloaded classes.
    fn jvm() -> (VmStructs, RecordedMemory) {
        let mut structs = VmStructs::default();
        let place = Field {
            offset: 0,
            address: POINTER,
        };
        structs.set("PerfMemory", "_start", place);
        let mut memory = RecordedMemory::default();
        memory.put(POINTER, &START.to_le_bytes());
        memory.put(START, &[0; 32 + 2 * 64 + MAX_NAME]);
        put_words(&mut memory, START, &[MAGIC, 0, 32 + 128, 0, 0, 0, 32, 2]);
        for (at, name) in [(32, "java.cls.loadedClasses"), (96, COUNTER)] {
            put_words(&mut memory, START + at, &[64, 20, 0, 0, 56]);
            memory.put(START + at + 20, name.as_bytes());
        }
        (structs, memory)
    }

    fn walked(unloads: &mut Unloads, age: u64) -> Moment {
        let now = Instant::now();
        let taken = now.checked_sub(Duration::from_millis(age));
        let moment = Moment::of(taken.unwrap_or(now), now);
        unloads.at(moment)
    }

    /// A walk is told since when the count is the same, and is named where it has changed.
    #[test]
    fn counted() {
        let (structs, mut memory) = jvm();
        let mut unloads = Unloads::find(&structs, &memory);
        let address = VALUE;
        assert_eq!(unloads.piece(), Some(Piece { address, len: 8 }));
        let since = unloads.since;
        assert!(since.is_some());
        assert_eq!(walked(&mut unloads, 500).classes, since);
        assert!(unloads.is_believed());
        assert!(unloads.settle(&memory).is_empty());
        assert!(!unloads.is_believed());
        walked(&mut unloads, 500);
        memory.put(VALUE, &7_u64.to_le_bytes());
        assert_eq!(unloads.settle(&memory), [0]);
        assert!(walked(&mut unloads, 500).classes > since);
        assert!(unloads.settle(&RecordedMemory::default()).is_empty());
        let moment = walked(&mut Unloads::default(), 0);
        let look = Look::Now;
        let last = unloads.at(Moment { look, ..moment });
        assert_eq!(last.classes, Some(last.now));
        assert!(!unloads.is_believed());
    }

    /// Counters that are damaged are none, and lead nowhere.
    #[test]
    fn damaged() {
        for (at, word) in [(0, 1), (8, u32::MAX), (24, u32::MAX), (32, 0), (32, 4096)] {
            let (structs, mut memory) = jvm();
            put_words(&mut memory, START + at, &[word]);
            let mut unloads = Unloads::find(&structs, &memory);
            assert_eq!(unloads.piece(), None, "{word:#x} at {at}");
            assert_eq!(walked(&mut unloads, 500).classes, None);
        }
    }
}
