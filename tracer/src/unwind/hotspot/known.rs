//! What is known of generated code, and of which stacks it is true.
//!
//! A stack is walked some milliseconds after it was copied, and a JVM under load frees code and puts other code in its
//! place all the time. Of a stack it is known what a return address in it meant if that had been read before the stack
//! was taken and nothing has changed since: a compiled method has an id that no other one gets. So each blob is looked
//! at again for the first stack that is younger than the last look, and never on the strength of time alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::unwind::memory::Memory;

use super::blob::{Blob, Life};
use super::code::JavaCode;
use super::code_cache::CodeCache;
use super::layout::VmLayout;

/// Return addresses and blobs that are remembered. When full it starts anew.
const MAX_CACHED: usize = 1 << 16;

/// When a stack was copied, and when it is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub taken: Instant,
    pub now: Instant,
}

/// Code by return addresses, and until when each blob is known to have been there.
#[derive(Debug, Default)]
pub struct KnownCode {
    codes: HashMap<u64, Arc<JavaCode>>,
    blobs: HashMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    blob: Arc<Blob>,
    /// The last look at it that found it.
    seen: Instant,
}

/// What is known of a return address.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// It means this.
    Code(Arc<JavaCode>),
    /// It meant this when it was last looked at, and the blob is gone now.
    Gone(Arc<JavaCode>),
    Nothing,
}

impl KnownCode {
    /// What `pc` meant at the moment that a stack was taken, as far as that is known.
    pub fn recall(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        cache: &CodeCache,
        moment: Moment,
        pc: u64,
    ) -> Recalled {
        let Some(code) = self.codes.get(&pc) else {
            return Recalled::Nothing;
        };
        let known = self.blobs.get_mut(&code.blob.address);
        let Some(known) = known.filter(|known| Arc::ptr_eq(&known.blob, &code.blob)) else {
            return Recalled::Gone(Arc::clone(code));
        };
        if moment.taken > known.seen {
            match known.blob.life(memory, layout, cache) {
                Life::Alive => known.seen = moment.now,
                // Of a process that has ended: what was known stays true.
                Life::Unreadable => {}
                Life::Gone => return Recalled::Gone(Arc::clone(code)),
            }
        }
        Recalled::Code(Arc::clone(code))
    }

    /// The blob that was found at an address, as it is remembered if it is the same.
    pub fn same(&self, blob: Blob) -> Arc<Blob> {
        match self.blobs.get(&blob.address) {
            Some(known) if known.blob.is_same(&blob) => Arc::clone(&known.blob),
            _ => Arc::new(blob),
        }
    }

    /// Remembers what `pc` means, as it was read after `moment.now`.
    pub fn remember(&mut self, moment: Moment, pc: u64, code: &Arc<JavaCode>) {
        if self.codes.len() >= MAX_CACHED || self.blobs.len() >= MAX_CACHED {
            self.codes.clear();
            self.blobs.clear();
        }
        self.codes.insert(pc, Arc::clone(code));
        let known = Known {
            blob: Arc::clone(&code.blob),
            seen: moment.now,
        };
        self.blobs.insert(code.blob.address, known);
    }

    #[cfg(test)]
    pub fn codes(&self) -> impl Iterator<Item = &Arc<JavaCode>> {
        self.codes.values()
    }
}
