//! Going on where frames are missing: behind parked frames of a virtual thread, and at a Java frame further up when
//! native code can't be left.

use std::sync::Arc;

use crate::stack::StackEnd;
use crate::unwind::cursor::Cursor;
use crate::unwind::memory::Memory;

use super::HotSpot;
use super::anchor::Anchor;
use super::code::{FrameRule, JavaCode};
use super::frames::{Walk, by_frame_pointer};

impl HotSpot {
    /// The caller of the return barrier on the carrier's stack is the frame that entered the virtual thread. The thread
    /// knows where that is; it is believed only where the copied stack has a return address into generated code there.
    /// Where the JVM does not say (some builds of 21), the frame pointer leads there if the last frame was interpreted.
    pub fn barrier<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
    ) -> Result<Cursor, StackEnd> {
        let entered = self.entered(walk, now);
        let Some((sp, code)) = entered else {
            return by_frame_pointer(&walk.stack, now);
        };
        let FrameRule::FixedSize(bytes) = code.rule else {
            return Err(StackEnd::BadCodeBlob);
        };
        let caller = self.fixed_size(walk, &Cursor::caller(now.pc, sp, 0), bytes)?;
        walk.frames.extend_from_slice(&code.frames);
        Ok(caller)
    }

    fn entered<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
    ) -> Option<(u64, Arc<JavaCode>)> {
        let (layout, continuation) = (self.layout.threads.clone()?, self.layout.continuation?);
        let thread = self
            .threads
            .thread(walk.memory, &layout, walk.tid, walk.now)?;
        let sp = walk
            .memory
            .read_u64(thread.checked_add(continuation.entry)?)
            .ok()?;
        let return_pc = walk.memory.read_u64(continuation.return_pc).ok()?;
        let code = self
            .code(walk.memory, walk.methods, walk.now, return_pc)
            .ok()?;
        (sp >= now.sp && walk.stack.contains(sp)).then_some((sp, code))
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
            None => self
                .threads
                .anchor(walk.memory, &layout, walk.tid, walk.now)?,
        };
        (anchor.sp > now.sp).then(|| self.at_anchor(walk, &anchor))?
    }

    /// The frame at an anchor, if the copied stack agrees that it was there: the word below the stack pointer has to
    /// be a return address into the same code. (Calls through `call_VM` leave up to two words between.)
    fn at_anchor<M: Memory>(&mut self, walk: &mut Walk<'_, M>, anchor: &Anchor) -> Option<Cursor> {
        let mut blob = |pc| {
            Some(
                self.code(walk.memory, walk.methods, walk.now, pc)
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
            let Ok(pc) = walk.stack.word(sp.checked_sub(8)?) else {
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
