//! Reading the target's memory, as a trait: the walker is a pure function over it and is tested on recorded pages.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

mod batch;
mod process;
mod recorded;

pub use batch::{Batch, Noted};
pub use process::ProcessMemory;
pub use recorded::{RecordedMemory, Recorder};

/// The bytes asked for are not (all) there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Memory is recorded and cached in pieces of this many bytes.
pub const PAGE: u64 = 4096;

/// Address and length of some memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    pub address: u64,
    pub len: usize,
}

/// Memory of the target. Everything that comes from it is hostile.
pub trait Memory {
    /// Fills `buf` from `address` or fails as a whole.
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable>;

    /// Fills `buf` with the bytes of `pieces`, one behind the other, and says of each whether it could be read as a whole.
    /// Where the memory is that of another process this is one system call, unless something can't be read.
    fn read_many(&self, pieces: &[Piece], buf: &mut [u8]) -> Vec<bool> {
        one_by_one(self, pieces, buf)
    }

    fn read_u8(&self, address: u64) -> Result<u8, Unreadable> {
        let mut buf = [0; 1];
        self.read(address, &mut buf)?;
        Ok(buf[0])
    }

    fn read_u32(&self, address: u64) -> Result<u32, Unreadable> {
        let mut buf = [0; 4];
        self.read(address, &mut buf)?;
        Ok(u32::from_le_bytes(buf))
    }

    fn read_u64(&self, address: u64) -> Result<u64, Unreadable> {
        let mut buf = [0; 8];
        self.read(address, &mut buf)?;
        Ok(u64::from_le_bytes(buf))
    }

    /// `len` bytes from `address`; the caller bounds `len`.
    fn read_vec(&self, address: u64, len: usize) -> Result<Vec<u8>, Unreadable> {
        let mut bytes = vec![0; len];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// As many of the `max` bytes from `address` as are readable: all, or those up to the end of a page.
    fn read_up_to(&self, address: u64, max: usize) -> Vec<u8> {
        let mut len = max;
        while len > 0 {
            if let Ok(bytes) = self.read_vec(address, len) {
                return bytes;
            }
            // The last readable byte is the last one of a page.
            let beyond = (address.wrapping_add(len as u64 - 1) & (PAGE - 1)) + 1;
            len = len.saturating_sub(usize::try_from(beyond).unwrap_or(len));
        }
        Vec::new()
    }

    /// The text at `address` up to its NUL, which has to come within `max` bytes.
    fn read_name(&self, address: u64, max: usize) -> Result<String, Unreadable> {
        let bytes = self.read_up_to(address, max);
        let end = bytes.iter().position(|&byte| byte == 0).ok_or(Unreadable)?;
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        (**self).read(address, buf)
    }

    fn read_many(&self, pieces: &[Piece], buf: &mut [u8]) -> Vec<bool> {
        (**self).read_many(pieces, buf)
    }
}

fn one_by_one<M: Memory + ?Sized>(memory: &M, pieces: &[Piece], buf: &mut [u8]) -> Vec<bool> {
    let mut rest = buf;
    let mut read = |piece: &Piece| {
        let (bytes, behind) = std::mem::take(&mut rest).split_at_mut_checked(piece.len)?;
        rest = behind;
        memory.read(piece.address, bytes).ok()
    };
    pieces.iter().map(|piece| read(piece).is_some()).collect()
}

/// Reads whole pages once and remembers them. For a short time only: the target goes on, and the copy grows old.
#[derive(Debug)]
pub struct PageCache<M> {
    memory: M,
    pages: RefCell<BTreeMap<u64, Vec<u8>>>,
    limit: usize,
}

impl<M: Memory> PageCache<M> {
    /// A cache that holds at most `limit` pages and reads the rest directly.
    pub fn new(memory: M, limit: usize) -> Self {
        PageCache {
            memory,
            pages: RefCell::default(),
            limit,
        }
    }
}

impl<M: Memory> Memory for PageCache<M> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        if self.pages.borrow().len() >= self.limit {
            return self.memory.read(address, buf);
        }
        let mut at = address;
        let mut rest = buf;
        while !rest.is_empty() {
            let from = (at % PAGE) as usize;
            let len = rest.len().min(PAGE as usize - from);
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(len);
            self.copy(at / PAGE, from, part)?;
            rest = behind;
            at = at.checked_add(len as u64).ok_or(Unreadable)?;
        }
        Ok(())
    }
}

impl<M: Memory> PageCache<M> {
    /// Fills `part` with what begins at `from` in `page`, and ends in it.
    fn copy(&self, page: u64, from: usize, part: &mut [u8]) -> Result<(), Unreadable> {
        let mut pages = self.pages.borrow_mut();
        let bytes = match pages.entry(page) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.memory.read_vec(page * PAGE, PAGE as usize)?),
        };
        let bytes = bytes.get(from..from + part.len()).ok_or(Unreadable)?;
        part.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recorder gives back exactly what was read; a page cache reads each page once and beyond its limit directly.
    #[test]
    fn wrappers() {
        let mut memory = RecordedMemory::default();
        memory.put(PAGE, &[7; 2 * PAGE as usize]);
        let recorder = Recorder::new(&memory);
        recorder.read_vec(PAGE + 10, 4).unwrap();
        recorder.read_vec(0, 4).unwrap_err();
        assert_eq!(
            recorder.recorded().ranges,
            BTreeMap::from([(PAGE + 10, vec![7; 4])])
        );
        let cache = PageCache::new(&recorder, 1);
        assert_eq!(cache.read_vec(PAGE, 8).unwrap(), [7; 8]);
        assert_eq!(cache.read_vec(2 * PAGE, 8).unwrap(), [7; 8]);
        assert_eq!(cache.pages.borrow().len(), 1);
    }
}
