//! Going on where frames are missing: behind parked frames of a virtual thread, behind code that is not known any more, and
//! at a Java frame further up when native code can't be left.

use crate::stack::{Frame, StackEnd};
use crate::unwind::cursor::Cursor;
use crate::unwind::memory::Memory;

use super::HotSpot;
use super::anchor::Anchor;
use super::blob::BlobKind;
use super::code::FrameRule;
use super::frames::Walk;

/// A `ContinuationEntry` has less than ten words; of parameters a method has 255 at most, and some take two words.
const MAX_ENTRY_WORDS: u64 = 512 + 16;
/// A return address and a frame pointer.
const LEAST_FRAME: u64 = 16;

impl HotSpot {
    /// Behind the return barrier the carrier's stack goes on in `Continuation.run`, which entered the virtual thread:
    /// between lie the parameters of the frame that returns to the barrier, and the `ContinuationEntry`. No register
    /// leads over them, and where the carrier keeps the entry (`JavaThread::_cont_entry`, not told by 21) is another
    /// place by the time that this is read. So the first return address into that method is looked for in the copy.
    ///
    /// # Errors
    /// `NoUnwindInfo` where there is none; else those of `CapturedStack::word`.
    pub fn barrier<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
    ) -> Result<Cursor, StackEnd> {
        let mut fp = walk.stack.word(now.sp)?;
        for word in 1..=MAX_ENTRY_WORDS {
            let slot = now.sp.checked_add(8 * word).ok_or(StackEnd::NoProgress)?;
            let word = walk.stack.word(slot)?;
            let pc = walk.stack.arch.strip(word);
            let caller = Cursor::caller(pc, slot.saturating_add(8), fp);
            if self.runs_continuation(walk, &caller) {
                let entry = self.enter_special(walk);
                walk.frames.extend(entry);
                return Ok(caller);
            }
            fp = word;
        }
        Err(StackEnd::NoUnwindInfo)
    }

    /// Whether `caller` is in `Continuation.run`, however that is run.
    fn runs_continuation<M: Memory>(&mut self, walk: &mut Walk<'_, M>, caller: &Cursor) -> bool {
        let is_other_code = !self.contains(caller.pc)
            || self
                .code(walk.memory, walk.methods, walk.moment, caller.pc)
                // Another barrier would be looked behind in turn.
                .is_ok_and(|code| code.is_barrier);
        if is_other_code {
            return false;
        }
        let known = walk.frames.len();
        let left = self.step(walk, caller);
        let innermost = walk.frames.get(known).cloned();
        walk.frames.truncate(known);
        let Some(Frame::Java { method, .. }) = innermost else {
            return false;
        };
        let method = walk.methods.methods.get(method.0 as usize);
        left.is_ok()
            && method.is_some_and(|method| {
                method.class == "jdk.internal.vm.Continuation" && method.name == "run"
            })
    }

    /// The native method that `Continuation.run` has called, where the JVM tells its return address.
    fn enter_special<M: Memory>(&mut self, walk: &mut Walk<'_, M>) -> Vec<Frame> {
        let frames = self.layout.continuation.and_then(|continuation| {
            let return_pc = walk.memory.read_u64(continuation.return_pc).ok()?;
            let code = self.code(walk.memory, walk.methods, walk.moment, return_pc);
            Some(code.ok()?.frames.clone())
        });
        frames.unwrap_or_default()
    }

    /// The caller of a frame whose code is not known for the moment of the stack. Code is often replaced by the same, and so
    /// the frame may have the size of what was or is there. The stack itself has to prove that: so far up there has to be
    /// a return address into code that is known, and by one of the sizes only.
    pub fn proven_caller<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
    ) -> Option<Cursor> {
        let mut sizes = self.known.sizes(now.pc);
        let there = super::find_blob(walk.memory, &self.layout, &self.code_cache, now.pc);
        sizes.extend(there.ok().map(|found| found.blob().frame_bytes));
        sizes.retain(|&bytes| bytes >= LEAST_FRAME);
        sizes.sort_unstable();
        sizes.dedup();
        let callers = sizes.iter().filter_map(|&bytes| {
            let sp = now.sp.checked_add(bytes)?;
            let pc = walk.stack.return_address(sp.checked_sub(8)?).ok()?;
            Some(Cursor::caller(
                pc,
                sp,
                walk.stack.word(sp.checked_sub(16)?).ok()?,
            ))
        });
        let callers: Vec<Cursor> = callers.collect();
        let mut proven = callers
            .into_iter()
            .filter(|caller| self.is_proven(walk, caller));
        let caller = proven.next()?;
        proven.next().is_none().then_some(caller)
    }

    /// Whether a frame of known code is at `caller`: the compiler has noted a call there, or the interpreter's frame names a
    /// method and a place in it.
    fn is_proven<M: Memory>(&mut self, walk: &mut Walk<'_, M>, caller: &Cursor) -> bool {
        if !self.contains(caller.pc) {
            return false;
        }
        let code = self.code(walk.memory, walk.methods, walk.moment, caller.pc);
        let Ok(code) = code else {
            return false;
        };
        match code.rule {
            FrameRule::FixedSize(_) => {
                code.may_call_java && code.is_complete && code.blob.kind == BlobKind::Compiled
            }
            FrameRule::Interpreter => {
                let known = walk.frames.len();
                let left = self.step(walk, caller);
                let innermost = walk.frames.get(known).cloned();
                walk.frames.truncate(known);
                left.is_ok() && matches!(innermost, Some(Frame::Java { .. }))
            }
            FrameRule::CallStub => {
                caller.fp > caller.sp
                    && caller.fp.is_multiple_of(8)
                    && walk.stack.contains(caller.fp)
            }
            FrameRule::Deoptimized { .. } | FrameRule::FramePointer => false,
        }
    }

    /// Where the walk may go on when native code can't be left: at the thread's last Java frame, or,
    /// when some Java frames have been passed, at the last one before the call that `call_wrapper` belongs to.
    pub fn resume<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        call_wrapper: Option<u64>,
        now: &Cursor,
    ) -> Option<Cursor> {
        let layout = self.layout.threads.clone()?;
        let anchor = match call_wrapper {
            Some(wrapper) => {
                let address = wrapper.checked_add(self.layout.call_wrapper_anchor?)?;
                Anchor::read(&layout, |address| walk.stack.word(address).ok(), address)?
            }
            None => match &walk.anchor {
                Some(words) => Anchor::copied(&layout, words)?,
                None => self
                    .threads
                    .anchor(walk.memory, &layout, walk.tid, walk.moment.now)?,
            },
        };
        (anchor.sp > now.sp).then(|| self.at_anchor(walk, &anchor))?
    }

    /// The frame at an anchor, if the copied stack agrees that it was there: the word below the stack pointer has to
    /// be a return address into the same code. (Calls through `call_VM` leave up to two words between.)
    pub fn at_anchor<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        anchor: &Anchor,
    ) -> Option<Cursor> {
        let mut blob = |pc| {
            Some(
                self.code(walk.memory, walk.methods, walk.moment, pc)
                    .ok()?
                    .blob
                    .address,
            )
        };
        let expected = if anchor.pc == 0 {
            None
        } else {
            Some(blob(anchor.pc)?)
        };
        for words in 0..3 {
            let sp = anchor.sp.checked_sub(8 * words)?;
            let Ok(pc) = walk.stack.return_address(sp.checked_sub(8)?) else {
                continue;
            };
            let found = blob(pc);
            if found.is_some() && (expected.is_none() || found == expected) {
                return Some(Cursor::caller(pc, sp, anchor.fp));
            }
        }
        None
    }
}
