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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::fast_map::FastMap;
use crate::unwind::memory::{Batch, Memory, Piece};

use super::HotSpot;
use super::blob::{Blob, Life};
use super::code::JavaCode;
use super::code_cache::CodeCache;
use super::doubts::Doubts;
use super::layout::VmLayout;
use super::moment::{Changes, Look, Moment, Span};

/// Return addresses and blobs that are remembered. When full it starts anew.
const MAX_CACHED: usize = 1 << 16;

/// Code by return addresses, and until when each blob is known to have been there.
#[derive(Debug, Default)]
pub struct KnownCode {
    codes: FastMap<u64, Meaning>,
    blobs: FastMap<u64, Known>,
    /// Where the code of each blob ends, by the blob's address.
    ends: BTreeMap<u64, u64>,
    /// About blobs.
    doubts: Doubts,
    changes: Changes,
}

/// What a return address means, and what it meant before.
#[derive(Debug)]
struct Meaning {
    code: Arc<JavaCode>,
    before: Option<Arc<JavaCode>>,
}

#[derive(Debug)]
struct Known {
    blob: Arc<Blob>,
    span: Span,
    /// The last look has not found it any more.
    has_gone: bool,
}

/// What is known of a return address.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// It meant this when the stack was taken.
    Code(Arc<JavaCode>),
    /// It means this now, and may have meant something else.
    Doubtful,
    /// It meant this in a span of time, and the blob is gone now.
    Gone(Arc<JavaCode>, Span),
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
        let Some(Meaning { code, .. }) = self.codes.get(&pc) else {
            return Recalled::Nothing;
        };
        let known = self.blobs.get_mut(&code.blob.address);
        let Some(known) = known.filter(|known| Arc::ptr_eq(&known.blob, &code.blob)) else {
            return Recalled::Nothing;
        };
        let is_younger = moment.taken > known.span.last;
        if is_younger && moment.look == Look::Later && !known.has_gone {
            self.doubts.believe(code.blob.address, moment.stack);
        } else if is_younger {
            match known.blob.life(memory, layout, cache) {
                Life::Alive => (known.span.last, known.has_gone) = (moment.now, false),
                // Of a process that has ended: what was known stays true.
                Life::Unreadable => {}
                Life::Gone => {
                    self.changes.note(moment.now);
                    return Recalled::Gone(Arc::clone(code), known.span);
                }
            }
        }
        if is_permanent(&code.blob) || self.changes.believes(&known.span, moment) {
            Recalled::Code(Arc::clone(code))
        } else {
            Recalled::Doubtful
        }
    }

    fn pieces(&self, layout: &VmLayout, cache: &CodeCache, address: u64) -> Vec<Piece> {
        let known = self.blobs.get(&address);
        known.map_or(Vec::new(), |known| known.blob.pieces(layout, cache).into())
    }

    /// Looks at the blob at `address`.
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
        let life = known.blob.life(memory, layout, cache);
        known.has_gone = life == Life::Gone;
        if life == Life::Alive {
            known.span.last = now;
        }
        !known.has_gone
    }

    /// The blob that was found at an address, as it is remembered if it is the same.
    pub fn same(&self, blob: Blob) -> Arc<Blob> {
        match self.blobs.get(&blob.address) {
            Some(known) if known.blob.is_same(&blob) => Arc::clone(&known.blob),
            _ => Arc::new(blob),
        }
    }

    /// Remembers what `pc` means, as it was read now; `other` is when other code was seen there for the last time.
    /// Gives whether it meant the same when the stack was taken.
    pub fn remember(
        &mut self,
        moment: Moment,
        pc: u64,
        code: &Arc<JavaCode>,
        other: Option<Instant>,
    ) -> bool {
        if self.codes.len() >= MAX_CACHED || self.blobs.len() >= MAX_CACHED {
            self.forget();
        }
        let before = self.codes.remove(&pc);
        let before = before.and_then(|before| {
            let is_same = Arc::ptr_eq(&before.code.blob, &code.blob);
            if is_same {
                before.before
            } else {
                Some(before.code)
            }
        });
        let meaning = Meaning {
            code: Arc::clone(code),
            before,
        };
        self.codes.insert(pc, meaning);
        let span = match self.blobs.get(&code.blob.address) {
            Some(known) if Arc::ptr_eq(&known.blob, &code.blob) => Span {
                last: moment.now,
                ..known.span
            },
            _ => Span::new(moment, other.max(self.displace(&code.blob, moment))),
        };
        let known = Known {
            blob: Arc::clone(&code.blob),
            span,
            has_gone: false,
        };
        self.ends.insert(code.blob.address, code.blob.code.end);
        self.blobs.insert(code.blob.address, known);
        is_permanent(&code.blob) || self.changes.believes(&span, moment)
    }

    fn forget(&mut self) {
        self.codes.clear();
        self.blobs.clear();
        self.ends.clear();
        self.doubts.replace_all();
    }

    /// Forgets the blobs that were where `blob` is now. Gives when the last of them was seen.
    fn displace(&mut self, blob: &Blob, moment: Moment) -> Option<Instant> {
        let before = self.ends.range(..blob.address).next_back();
        let before = before.filter(|&(_, &end)| end > blob.address);
        let inside = self
            .ends
            .range(blob.address..blob.code.end.max(blob.address));
        let gone: Vec<u64> = before
            .into_iter()
            .chain(inside)
            .map(|(&at, _)| at)
            .collect();
        let mut last = None;
        for at in gone {
            self.ends.remove(&at);
            last = last.max(self.blobs.remove(&at).map(|known| known.span.last));
            self.doubts.replace(at);
            self.changes.note(moment.now);
        }
        last
    }

    /// Whether there was hardly time for a third thing besides the [`KnownCode::candidates`].
    pub fn are_all(&self, moment: Moment, pc: u64) -> bool {
        let code = self.codes.get(&pc).map(|meaning| &meaning.code);
        let known = code.and_then(|code| self.blobs.get(&code.blob.address));
        known.is_some_and(|known| known.span.excludes_other(moment))
    }

    /// The sizes of the frames of all that `pc` has meant, as far as that is remembered.
    pub fn sizes(&self, pc: u64) -> Vec<u64> {
        let meaning = self.codes.get(&pc).into_iter();
        let codes = meaning.flat_map(|meaning| [Some(&meaning.code), meaning.before.as_ref()]);
        codes
            .flatten()
            .filter_map(|code| code.rule.bytes())
            .collect()
    }

    /// What `pc` may have meant, where it is not known for certain: both things, or nothing.
    pub fn candidates(&self, pc: u64) -> Option<[Arc<JavaCode>; 2]> {
        let meaning = self.codes.get(&pc)?;
        Some([
            Arc::clone(&meaning.code),
            Arc::clone(meaning.before.as_ref()?),
        ])
    }

    #[cfg(test)]
    pub fn codes(&self) -> impl Iterator<Item = &Arc<JavaCode>> {
        self.codes.values().map(|meaning| &meaning.code)
    }
}

/// Whether code is never freed: nearly all that is not made of a method.
fn is_permanent(blob: &Blob) -> bool {
    blob.nmethod.is_none()
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
        if blobs.is_empty() && doubted.is_empty() && !self.unloads.is_believed() {
            return Vec::new();
        }
        let mut wanted = Vec::from_iter(self.unloads.piece());
        for blob in blobs.addresses() {
            wanted.extend(known.pieces(layout, cache, blob));
        }
        for method in doubted.addresses() {
            wanted.extend_from_slice(methods.pieces(method));
        }
        let batch = Batch::read(memory, wanted, std::mem::take(&mut self.room));
        let mut wrong = blobs.settle(|blob| known.holds(&batch, layout, cache, now, blob));
        wrong.extend(doubted.settle(|method| methods.holds(&batch, layout, method, now)));
        wrong.extend(self.unloads.settle(&batch));
        self.room = batch.into_bytes();
        // Their room is used again.
        (known.doubts, methods.doubts) = (blobs, doubted);
        wrong.sort_unstable();
        wrong.dedup();
        wrong
    }
}
