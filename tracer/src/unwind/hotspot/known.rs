//! What is known of generated code, and of which stacks it is true.
//!
//! A stack is walked some milliseconds after it was copied, and a JVM under load frees code and puts other code in its
//! place all the time. Of a stack it is known what a return address in it meant if that had been read before the stack
//! was taken and nothing has changed since: a compiled method has an id that no other one gets. So each blob is looked
//! at again for the first stack that is younger than the last look, and never on the strength of time alone.
//!
//! Looking while a walk goes on would take two reads of the target for each frame. So a walk believes what is remembered
//! and notes what of it has to be looked at; when it is over all of that is read at once ([`HotSpot::holds`]). Where
//! something has changed the walk is worth nothing, and is begun anew without it.

use std::sync::Arc;
use std::time::Instant;

use crate::fast_map::FastMap;
use crate::unwind::memory::{Batch, Memory, Piece};

use super::HotSpot;
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
    pub look: Look,
}

/// When what is remembered, but not known for this moment, is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At once.
    Now,
    /// When the walk is over: until then it is believed.
    Later,
}

/// Code by return addresses, and until when each blob is known to have been there.
#[derive(Debug, Default)]
pub struct KnownCode {
    codes: FastMap<u64, Arc<JavaCode>>,
    blobs: FastMap<u64, Known>,
    /// Addresses of blobs that have to be looked at.
    doubts: Vec<u64>,
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
        if moment.taken > known.seen && moment.look == Look::Later {
            self.doubts.push(code.blob.address);
        } else if moment.taken > known.seen {
            match known.blob.life(memory, layout, cache) {
                Life::Alive => known.seen = moment.now,
                // Of a process that has ended: what was known stays true.
                Life::Unreadable => {}
                Life::Gone => return Recalled::Gone(Arc::clone(code)),
            }
        }
        Recalled::Code(Arc::clone(code))
    }

    /// Whether [`KnownCode::recall`] gives code for `pc`, as far as that can be said without a look at it.
    pub fn knows(&self, pc: u64) -> bool {
        self.codes.get(&pc).is_some_and(|code| {
            let known = self.blobs.get(&code.blob.address);
            known.is_some_and(|known| Arc::ptr_eq(&known.blob, &code.blob))
        })
    }

    fn pieces(&self, layout: &VmLayout, cache: &CodeCache, address: u64) -> Vec<Piece> {
        let known = self.blobs.get(&address);
        known.map_or(Vec::new(), |known| known.blob.pieces(layout, cache).into())
    }

    /// Looks at the blob at `address`; forgets that it is there where it has gone.
    fn holds(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        cache: &CodeCache,
        moment: Moment,
        address: u64,
    ) -> bool {
        let Some(known) = self.blobs.get_mut(&address) else {
            return false;
        };
        match known.blob.life(memory, layout, cache) {
            Life::Alive => known.seen = moment.now,
            Life::Unreadable => {}
            Life::Gone => {
                self.blobs.remove(&address);
                return false;
            }
        }
        true
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

impl HotSpot {
    /// Whether everything was right that the walk at `moment` has believed: one batched read of the target, or none.
    pub fn holds(&mut self, memory: &impl Memory, moment: Moment) -> bool {
        let blobs = distinct(std::mem::take(&mut self.known.doubts));
        let methods = distinct(self.methods.take_doubts());
        if blobs.is_empty() && methods.is_empty() {
            return true;
        }
        let (layout, cache) = (&self.layout, &self.code_cache);
        let mut wanted = Vec::with_capacity(2 * blobs.len() + 6 * methods.len());
        for &blob in &blobs {
            wanted.extend(self.known.pieces(layout, cache, blob));
        }
        for &method in &methods {
            wanted.extend_from_slice(self.methods.pieces(method));
        }
        let memory = Batch::read(memory, wanted);
        let mut holds = true;
        for blob in blobs {
            holds &= self.known.holds(&memory, layout, cache, moment, blob);
        }
        for method in methods {
            holds &= self.methods.holds(&memory, layout, method, moment);
        }
        holds
    }
}

fn distinct(mut addresses: Vec<u64>) -> Vec<u64> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
