//! Counts what a walk reads of the live target.

use std::cell::Cell;

use offheap::unwind::memory::{Memory, Piece, ProcessMemory, Unreadable};

/// Reads so far: each is one system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub calls: u64,
    pub bytes: u64,
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

    fn count(&self, bytes: usize) {
        let Reads {
            calls,
            bytes: before,
        } = self.reads.get();
        self.reads.set(Reads {
            calls: calls + 1,
            bytes: before + bytes as u64,
        });
    }
}

impl Memory for Counting {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        self.count(buf.len());
        self.memory.read(address, buf)
    }

    fn read_many(&self, pieces: &[Piece], buf: &mut [u8]) -> Vec<bool> {
        self.count(buf.len());
        self.memory.read_many(pieces, buf)
    }
}
