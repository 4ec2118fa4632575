//! What is known of generated code, and of which stacks it is true.
//!
//! A stack is walked some milliseconds after it was copied, and a JVM under load frees code and puts other code in its
//! place all the time. Of a stack it is known what a return address in it meant if that had been read before the stack
//! was taken and nothing has changed since: a compiled method has an id that no other one gets. So each blob is looked
//! at again for the first stack that is younger than the last look, and never on the strength of time alone.
//!
//! Looking while a walk goes on would take two reads of the target for each frame. So a walk believes what is remembered
//! and notes what of it has to be looked at; when it is over all of that is read at once ([`HotSpot::wrong`]). Where
//! something has changed the walk is worth nothing, and is begun anew without it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fast_map::FastMap;
use crate::unwind::memory::{Batch, Memory, Piece};

use super::HotSpot;
use super::blob::{Blob, Life};
use super::code::JavaCode;
use super::code_cache::CodeCache;
use super::doubts::Doubts;
use super::layout::VmLayout;

/// Return addresses and blobs that are remembered. When full it starts anew.
const MAX_CACHED: usize = 1 << 16;

/// When a stack was copied, and when it is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub taken: Instant,
    pub now: Instant,
    pub look: Look,
    /// Which it is of the stacks that are walked together.
    pub stack: u32,
}

impl Moment {
    /// For a stack that was copied so long ago.
    pub fn of(age: Duration, now: Instant) -> Self {
        Moment {
            taken: now.checked_sub(age).unwrap_or(now),
            now,
            look: Look::Later,
            stack: 0,
        }
    }
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
    /// About blobs.
    doubts: Doubts,
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
            self.doubts.believe(code.blob.address, moment.stack);
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
        now: Instant,
        address: u64,
    ) -> bool {
        let Some(known) = self.blobs.get_mut(&address) else {
            return false;
        };
        match known.blob.life(memory, layout, cache) {
            Life::Alive => known.seen = now,
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
            self.doubts.replace_all();
        }
        self.codes.insert(pc, Arc::clone(code));
        let known = Known {
            blob: Arc::clone(&code.blob),
            seen: moment.now,
        };
        let before = self.blobs.insert(code.blob.address, known);
        if before.is_some_and(|before| !Arc::ptr_eq(&before.blob, &code.blob)) {
            self.doubts.replace(code.blob.address);
        }
    }

    #[cfg(test)]
    pub fn codes(&self) -> impl Iterator<Item = &Arc<JavaCode>> {
        self.codes.values()
    }
}

impl HotSpot {
    /// Looks at everything that walks have believed since the last call: with one batched read of the target, or none.
    /// Returns the stacks that have believed something wrong. `now` is from before the walks.
    pub fn wrong(&mut self, memory: &impl Memory, now: Instant) -> Vec<u32> {
        self.next = None;
        let (layout, cache) = (&self.layout, &self.code_cache);
        let (known, methods) = (&mut self.known, &mut self.methods);
        let mut blobs = std::mem::take(&mut known.doubts);
        let mut doubted = std::mem::take(&mut methods.doubts);
        if blobs.is_empty() && doubted.is_empty() {
            return Vec::new();
        }
        let mut wanted = Vec::new();
        for blob in blobs.addresses() {
            wanted.extend(known.pieces(layout, cache, blob));
        }
        for method in doubted.addresses() {
            wanted.extend_from_slice(methods.pieces(method));
        }
        let batch = Batch::read(memory, wanted, std::mem::take(&mut self.room));
        let mut wrong = blobs.settle(|blob| known.holds(&batch, layout, cache, now, blob));
        wrong.extend(doubted.settle(|method| methods.holds(&batch, layout, method, now)));
        self.room = batch.into_bytes();
        // Their room is used again.
        (known.doubts, methods.doubts) = (blobs, doubted);
        wrong.sort_unstable();
        wrong.dedup();
        wrong
    }
}
