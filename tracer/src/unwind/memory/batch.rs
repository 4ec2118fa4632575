//! Many small pieces, read at once.

use std::cell::RefCell;

use super::{Memory, PAGE, Piece, Unreadable};

/// All that one batch holds: a stack needs some ten KiB.
const MAX_BYTES: usize = 1 << 20;
/// Pieces that are no farther apart are read as one, with what lies between: that takes the kernel less time than
/// finding another page. Between two pieces so near lies no third page, which might not be readable.
const MAX_GAP: usize = PAGE as usize - 1;

/// A copy of some pieces of a memory, made at one moment; what lies elsewhere is read directly.
#[derive(Debug)]
pub struct Batch<'a, M> {
    memory: &'a M,
    /// Ascending and disjoint, with where their bytes begin.
    pieces: Vec<(Piece, usize)>,
    bytes: Vec<u8>,
}

impl<'a, M: Memory> Batch<'a, M> {
    /// Reads `wanted` from `memory`; what can't be read, or is too much, is left out. `bytes` is only room to be used.
    pub fn read(memory: &'a M, wanted: Vec<Piece>, mut bytes: Vec<u8>) -> Self {
        let wanted = merged(wanted);
        bytes.clear();
        bytes.resize(wanted.iter().map(|piece| piece.len).sum(), 0);
        let read = memory.read_many(&wanted, &mut bytes);
        let mut end = 0;
        let placed = wanted.into_iter().map(|piece| {
            end += piece.len;
            (piece, end - piece.len)
        });
        let there = placed.zip(read).filter(|(_, read)| *read);
        Batch {
            memory,
            pieces: there.map(|(placed, _)| placed).collect(),
            bytes,
        }
    }

    /// The room, for the next batch.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn find(&self, address: u64, len: usize) -> Option<&[u8]> {
        let after = self
            .pieces
            .partition_point(|(piece, _)| piece.address <= address);
        let (piece, place) = self.pieces.get(after.checked_sub(1)?)?;
        let from = usize::try_from(address - piece.address).ok()?;
        let end = from.checked_add(len).filter(|&end| end <= piece.len)?;
        self.bytes.get(place + from..place + end)
    }
}

impl<M: Memory> Memory for Batch<'_, M> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        match self.find(address, buf.len()) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => self.memory.read(address, buf),
        }
    }
}

/// Passes reads on and notes where they were.
#[derive(Debug)]
pub struct Noted<'a, M> {
    memory: &'a M,
    pieces: RefCell<Vec<Piece>>,
}

impl<'a, M: Memory> Noted<'a, M> {
    pub fn new(memory: &'a M) -> Self {
        Noted {
            memory,
            pieces: RefCell::default(),
        }
    }

    pub fn pieces(self) -> Vec<Piece> {
        self.pieces.into_inner()
    }
}

impl<M: Memory> Memory for Noted<'_, M> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        let len = buf.len();
        self.pieces.borrow_mut().push(Piece { address, len });
        self.memory.read(address, buf)
    }
}

/// Ascending, and near pieces as one.
fn merged(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_unstable();
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut bytes = 0_usize;
    for piece in pieces {
        if let Some(last) = merged.last_mut()
            && let Ok(from) = usize::try_from(piece.address - last.address)
            && from <= last.len.saturating_add(MAX_GAP)
        {
            let len = last.len.max(from.saturating_add(piece.len));
            bytes = bytes.saturating_add(len - last.len);
            if bytes <= MAX_BYTES {
                last.len = len;
            }
            continue;
        }
        bytes = bytes.saturating_add(piece.len);
        if bytes <= MAX_BYTES {
            merged.push(piece);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::unwind::memory::RecordedMemory;

    struct Counted {
        memory: RecordedMemory,
        direct: Cell<u32>,
    }

    impl Memory for Counted {
        fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
            self.direct.set(self.direct.get() + 1);
            self.memory.read(address, buf)
        }

        fn read_many(&self, pieces: &[Piece], buf: &mut [u8]) -> Vec<bool> {
            self.memory.read_many(pieces, buf)
        }
    }

    fn piece(address: u64, len: usize) -> Piece {
        Piece { address, len }
    }

    /// What is in the batch is not read again, in whole or in part, also across pieces that touch; the rest is read
    /// directly, and what is not there is unreadable either way.
    #[test]
    fn copies() {
        let mut memory = RecordedMemory::default();
        memory.put(0x1000, b"abcdefghij");
        let memory = Counted {
            memory,
            direct: Cell::new(0),
        };
        let wanted = vec![
            piece(0x1006, 2),
            piece(0x1000, 4),
            piece(0x1003, 3),
            piece(0x4000, 4),
        ];
        let batch = Batch::read(&memory, wanted, Vec::new());
        assert_eq!(batch.read_vec(0x1000, 8).unwrap(), b"abcdefgh");
        assert_eq!(batch.read_vec(0x1005, 2).unwrap(), b"fg");
        assert_eq!(memory.direct.get(), 0);
        assert_eq!(batch.read_vec(0x1007, 3).unwrap(), b"hij");
        assert_eq!(memory.direct.get(), 1);
        assert_eq!(batch.read_vec(0x4000, 4), Err(Unreadable));
        assert_eq!(batch.read_vec(u64::MAX, 4), Err(Unreadable));
    }

    /// More than the bound is not read ahead, and no numbers overflow.
    #[test]
    fn bounded() {
        let pieces = merged(vec![
            piece(0, MAX_BYTES),
            piece(8, MAX_BYTES),
            piece(u64::MAX, usize::MAX),
            piece(u64::MAX - 1, usize::MAX),
        ]);
        assert_eq!(pieces, [piece(0, MAX_BYTES)]);
    }
}
