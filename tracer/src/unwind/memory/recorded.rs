//! Memory that was recorded, to walk stacks again without their process.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Memory, Unreadable};

/// Memory of a target that was recorded: what is not in it is unreadable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedMemory {
    /// By address; ranges neither overlap nor touch.
    pub ranges: BTreeMap<u64, Vec<u8>>,
}

impl RecordedMemory {
    /// Puts `bytes` at `address`, over what was there.
    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        let end = address.saturating_add(bytes.len() as u64);
        let (mut start, mut merged) = (address, bytes.to_vec());
        let touching = |(&at, old): (&u64, &Vec<u8>)| {
            (at.saturating_add(old.len() as u64) >= address).then_some(at)
        };
        while let Some(at) = self.ranges.range(..=end).next_back().and_then(touching) {
            let old = self.ranges.remove(&at).unwrap_or_default();
            let new_end = start.saturating_add(merged.len() as u64);
            if let Some(tail) = new_end
                .checked_sub(at)
                .and_then(|skip| old.get(skip as usize..))
            {
                merged.extend_from_slice(tail);
            }
            if at < start {
                let mut head = old;
                head.truncate((start - at) as usize);
                head.append(&mut merged);
                (start, merged) = (at, head);
            }
        }
        self.ranges.insert(start, merged);
    }
}

impl Memory for RecordedMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        let (start, bytes) = self
            .ranges
            .range(..=address)
            .next_back()
            .ok_or(Unreadable)?;
        let from = usize::try_from(address - start)
            .ok()
            .and_then(|at| bytes.get(at..))
            .ok_or(Unreadable)?;
        buf.copy_from_slice(from.get(..buf.len()).ok_or(Unreadable)?);
        Ok(())
    }
}

/// Passes reads on and remembers what they gave.
#[derive(Debug)]
pub struct Recorder<M> {
    memory: M,
    recorded: RefCell<RecordedMemory>,
}

impl<M: Memory> Recorder<M> {
    pub fn new(memory: M) -> Self {
        Recorder {
            memory,
            recorded: RefCell::default(),
        }
    }

    /// Begins anew.
    pub fn forget(&self) {
        self.recorded.take();
    }

    /// Everything that was read so far.
    pub fn recorded(&self) -> RecordedMemory {
        self.recorded.borrow().clone()
    }
}

impl<M: Memory> Memory for Recorder<M> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        self.memory.read(address, buf)?;
        self.recorded.borrow_mut().put(address, buf);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::PAGE;
    use super::*;

    /// Recorded pieces that touch or overlap become one; reads into a gap fail as a whole or stop at a page's end.
    #[test]
    fn recorded() {
        let mut memory = RecordedMemory::default();
        memory.put(PAGE - 4, b"over");
        memory.put(PAGE + 4, b"edge\0");
        memory.put(PAGE, b" the ");
        memory.put(PAGE + 3, b" E");
        assert_eq!(memory.ranges.len(), 1);
        assert_eq!(memory.read_vec(PAGE - 4, 13).unwrap(), b"over th Edge\0");
        assert_eq!(memory.read(PAGE + 7, &mut [0; 4]), Err(Unreadable));
        memory.put(3 * PAGE - 4, b"last");
        assert_eq!(memory.ranges.len(), 2);
        assert_eq!(memory.read_up_to(3 * PAGE - 2, 4), b"st");
        assert_eq!(memory.read_up_to(5 * PAGE, 4), b"");
    }
}
