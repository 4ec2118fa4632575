//! Looking again at what has been remembered for long.
//!
//! The JVM frees code and gives its place to other code. So nothing is believed for long, but looking at each piece when
//! a walk comes to it would take hundreds of reads for one stack. A walk believes what is remembered, and notes what of
//! it is old; when it is over all of that is read at once. Where something has changed, the walk is worth nothing and is
//! begun anew without it.

use std::time::{Duration, Instant};

use crate::unwind::memory::{Batch, Memory, Piece};

use super::{HotSpot, find_blob};

/// What a walk has believed and has to be looked at again.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Return addresses.
    pub codes: Vec<u64>,
}

/// Whether what was looked at then needs no other look now. What this walk has looked at itself never does.
pub fn is_fresh(checked: Instant, now: Instant, trusted: Duration) -> bool {
    checked == now || now.duration_since(checked) < trusted
}

impl HotSpot {
    /// Whether everything holds that was believed since the last call; `now` is the time of the walk. What does not is
    /// forgotten.
    pub fn holds(&mut self, memory: &impl Memory, now: Instant) -> bool {
        let mut codes = std::mem::take(&mut self.doubts.codes);
        let mut methods = self.methods.take_doubts();
        if codes.is_empty() && methods.is_empty() {
            return true;
        }
        for doubts in [&mut codes, &mut methods] {
            doubts.sort_unstable();
            doubts.dedup();
        }
        let mut wanted: Vec<Piece> = Vec::with_capacity(4 * codes.len() + 2 * methods.len());
        wanted.extend(codes.iter().flat_map(|&pc| self.pieces(pc)));
        let layout = &self.layout.method;
        wanted.extend(
            methods
                .iter()
                .flat_map(|&method| self.methods.pieces(layout, method)),
        );
        let batch = Batch::read(memory, wanted);
        let mut holds = true;
        for pc in codes {
            holds &= self.code_holds(&batch, now, pc);
        }
        for method in methods {
            holds &= self.methods.holds(&batch, &self.layout.method, method, now);
        }
        holds
    }

    /// Forgets everything that was read of the JVM's code and methods.
    pub fn forget(&mut self) {
        self.codes.clear();
        self.methods.forget();
    }

    fn pieces(&self, pc: u64) -> impl Iterator<Item = Piece> {
        let blob = self.codes.get(&pc).map(|entry| &entry.code.blob);
        let found = blob.into_iter().flat_map(move |blob| {
            let place = self.code_cache.pieces(pc, blob.address);
            let place = place.into_iter().flatten();
            place.chain(blob.pieces(&self.layout))
        });
        found.collect::<Vec<_>>().into_iter()
    }

    fn code_holds(&mut self, memory: &impl Memory, now: Instant, pc: u64) -> bool {
        let Some(entry) = self.codes.get_mut(&pc) else {
            return false;
        };
        // Memory that can't be read at all is that of a process that has ended: what was known stays true.
        if self.code_cache.blob(memory, pc).is_err() {
            return true;
        }
        // Freed code is replaced by other code, at the same place or around it.
        let blob = find_blob(memory, &self.layout, &self.code_cache, pc);
        let same = blob.is_ok_and(|blob| blob == entry.code.blob) && entry.code.is_complete;
        if same {
            entry.checked = now;
        } else {
            self.codes.remove(&pc);
        }
        same
    }
}
