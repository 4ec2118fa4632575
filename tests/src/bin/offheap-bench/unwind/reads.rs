//! Counts what a walk reads of the live target.

use std::cell::Cell;

use offheap::unwind::memory::{Memory, Piece, ProcessMemory, Unreadable};

/// Reads so far: each is one system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub calls: u64,
    pub pieces: u64,
    pub bytes: u64,
}

impl Reads {
    pub fn since(self, before: Reads) -> Reads {
        Reads {
            calls: self.calls - before.calls,
            pieces: self.pieces - before.pieces,
            bytes: self.bytes - before.bytes,
        }
    }

    pub fn and(self, more: Reads) -> Reads {
        Reads {
            calls: self.calls + more.calls,
            pieces: self.pieces + more.pieces,
            bytes: self.bytes + more.bytes,
        }
    }
}

/// A process's memory that counts how it is read.
pub struct Counting {
    memory: ProcessMemory,
    reads: Cell<Reads>,
}

impl Counting {
    pub fn open(pid: u32) -> std::io::Result<Counting> {
        let memory = ProcessMemory::open(pid)?;
        Ok(Counting {
            memory,
            reads: Cell::default(),
        })
    }

    pub fn reads(&self) -> Reads {
        self.reads.get()
    }

    fn count(&self, pieces: usize, bytes: usize) {
        let one = Reads {
            calls: 1,
            pieces: pieces as u64,
            bytes: bytes as u64,
        };
        self.reads.set(self.reads.get().and(one));
    }
}

impl Memory for Counting {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        self.count(1, buf.len());
        self.memory.read(address, buf)
    }

    fn read_many(&self, pieces: &[Piece], buf: &mut [u8]) -> Vec<bool> {
        self.count(pieces.len(), buf.len());
        self.memory.read_many(pieces, buf)
    }
}
