//! What is known of generated code, and of which stacks it is true.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::unwind::memory::Memory;

use super::blob::{Blob, Life};
use super::code::JavaCode;
use super::code_cache::CodeCache;
use super::layout::VmLayout;
use super::moment::{Changes, Moment, Span};

/// Return addresses and blobs that are remembered. When full it starts anew.
const MAX_CACHED: usize = 1 << 16;

/// Code by return addresses, and until when each blob is known to have been there.
#[derive(Debug, Default)]
pub struct KnownCode {
    codes: HashMap<u64, Meaning>,
    blobs: BTreeMap<u64, Known>,
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
    /// What `pc` meant when a stack was taken, as far as that is known.
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
        if moment.taken > known.span.last {
            match known.blob.life(memory, layout, cache) {
                Life::Alive => known.span.last = moment.now,
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
            self.codes.clear();
            self.blobs.clear();
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
        let address = code.blob.address;
        let span = match self.blobs.get(&address) {
            Some(known) if Arc::ptr_eq(&known.blob, &code.blob) => Span {
                last: moment.now,
                ..known.span
            },
            _ => Span::new(moment, other.max(self.displace(&code.blob, moment))),
        };
        let blob = Arc::clone(&code.blob);
        self.blobs.insert(address, Known { blob, span });
        is_permanent(&code.blob) || self.changes.believes(&span, moment)
    }

    /// Forgets the blobs that were where `blob` is now. Gives when the last of them was seen.
    fn displace(&mut self, blob: &Blob, moment: Moment) -> Option<Instant> {
        let before = self.blobs.range(..blob.address).next_back();
        let before = before.filter(|(_, known)| known.blob.code.end > blob.address);
        let inside = self.blobs.range(blob.address..blob.code.end);
        let gone: Vec<u64> = before
            .into_iter()
            .chain(inside)
            .map(|(&at, _)| at)
            .collect();
        let known = gone.iter().filter_map(|at| self.blobs.remove(at));
        let last = known.map(|known| known.span.last).max();
        if last.is_some() {
            self.changes.note(moment.now);
        }
        last
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
