//! One walk, from the registers at the event to the thread's first frame.

use crate::stack::{Frame, Marker, Stack, StackEnd};

use super::StackCapture;
use super::arch::Arch;
use super::cursor::{CapturedStack, Cursor};
use super::hotspot::oracle::Entry;
use super::hotspot::{HotSpot, Walk};
use super::memory::Memory;
use super::native::{NativeCode, NativeUnwinder};
use super::return_probe::ReturnProbes;
use super::rule::Step;
use crate::target::modules::ModuleTable;

/// Physical frames of one stack: the smallest have 16 bytes, and 64 KiB are copied at most.
pub const MAX_PHYSICAL: usize = 4096;
/// Frames of one stack, inlined ones included.
pub const MAX_FRAMES: usize = 4096;

/// Everything that a walk works with.
pub struct Walker<'a, M> {
    pub modules: &'a ModuleTable,
    pub native: &'a mut NativeUnwinder,
    pub hotspot: Option<&'a mut HotSpot>,
    /// There is no JVM, so that executable memory without a file belongs to some other JIT compiler.
    pub is_foreign: bool,
    pub java: Walk<'a, M>,
    pub probes: ReturnProbes<'a>,
    /// Of the last call from the JVM into Java that was passed.
    pub call_wrapper: Option<u64>,
    pub passed_java: bool,
    /// Where the walk has passed from native code into Java by itself.
    pub entries: Vec<Entry>,
    /// The frame before was not native code.
    pub is_in_java: bool,
    /// The walk went on where the JVM had noted the last Java frame.
    pub has_resumed: bool,
}

impl<M: Memory> Walker<'_, M> {
    /// Walks from `cursor` and says why it ended. The frames are in `java.frames`.
    pub fn walk(&mut self, mut cursor: Cursor) -> StackEnd {
        for _ in 0..MAX_PHYSICAL {
            if self.java.frames.len() >= MAX_FRAMES {
                self.java.frames.truncate(MAX_FRAMES);
                return StackEnd::FrameLimit;
            }
            let next = match self.step(&cursor) {
                Ok(Some(next)) => self.check(&cursor, next),
                Ok(None) => return StackEnd::Root,
                Err(end) => Err(end),
            };
            let next = match next.or_else(|end| self.resume(&cursor, end)) {
                Ok(next) => next,
                Err(end) => return end,
            };
            debug_assert!(next.sp > cursor.sp || next.sp == cursor.sp && cursor.lr.is_some());
            cursor = next;
        }
        StackEnd::FrameLimit
    }

    /// Compares the walk that ended so with what the JVM says.
    pub fn compare(&mut self, end: StackEnd) {
        if let Some(hotspot) = self.hotspot.as_mut().filter(|_| !self.has_resumed) {
            hotspot.compare(&mut self.java, &self.entries, end == StackEnd::Root);
        }
    }

    /// Adds the frame at `cursor` and leaves it; None at the root.
    fn step(&mut self, cursor: &Cursor) -> Result<Option<Cursor>, StackEnd> {
        if let Some(hotspot) = self
            .hotspot
            .as_mut()
            .filter(|hotspot| hotspot.contains(cursor.pc))
        {
            if !cursor.is_return_address {
                return Err(hotspot.running(&mut self.java, cursor));
            }
            let native = self.java.frames.len().checked_sub(1);
            if let Some(native) = native.filter(|_| !self.is_in_java) {
                let sp = cursor.sp;
                self.entries.push(Entry { sp, native });
            }
            self.is_in_java = true;
            let step = hotspot.step(&mut self.java, cursor)?;
            self.passed_java = true;
            self.call_wrapper = step.call_wrapper;
            return Ok(Some(step.cursor));
        }
        let code = self.native.code(self.modules, self.java.memory, cursor);
        self.java.frames.push(code.frame(cursor.lookup_address()));
        self.is_in_java = false;
        match code {
            NativeCode::File { .. } => self.native_step(code, cursor),
            NativeCode::Anonymous if self.is_foreign => self.foreign_jit(cursor).map(Some),
            NativeCode::Anonymous | NativeCode::NotMapped => Err(StackEnd::NoUnwindInfo),
        }
    }

    fn native_step(
        &mut self,
        code: NativeCode,
        cursor: &Cursor,
    ) -> Result<Option<Cursor>, StackEnd> {
        let (mut next, slot) = match self.native.step(code, cursor, &self.java.stack)? {
            Step::Root => return Ok(None),
            Step::Caller { cursor, slot } => (cursor, slot),
        };
        next.pc = self
            .probes
            .original(next.pc, slot)
            .ok_or(StackEnd::ReturnProbe)?;
        Ok((next.pc != 0).then_some(next))
    }

    /// Code of a JIT compiler that is not HotSpot's says nothing about its frames. Where its frame pointer leads to
    /// code it is followed; the frame's own entry says that nothing is known about it.
    fn foreign_jit(&mut self, cursor: &Cursor) -> Result<Cursor, StackEnd> {
        let word = |address| self.java.stack.word(address);
        if cursor.fp < cursor.sp || !cursor.fp.is_multiple_of(8) {
            return Err(StackEnd::NoUnwindInfo);
        }
        let slot = cursor.fp.checked_add(8).ok_or(StackEnd::NoUnwindInfo)?;
        let (pc, fp) = (self.java.stack.return_address(slot)?, word(cursor.fp)?);
        let sp = cursor.fp.checked_add(16).ok_or(StackEnd::NoUnwindInfo)?;
        let pc = self
            .probes
            .original(pc, Some(slot))
            .ok_or(StackEnd::ReturnProbe)?;
        let next = Cursor::caller(pc, sp, fp);
        match self.native.code(self.modules, self.java.memory, &next) {
            NativeCode::NotMapped => Err(StackEnd::NoUnwindInfo),
            NativeCode::File { .. } | NativeCode::Anonymous => Ok(next),
        }
    }

    fn check(&self, cursor: &Cursor, next: Cursor) -> Result<Cursor, StackEnd> {
        self.java.stack.check_progress(cursor, &next).map(|()| next)
    }

    /// Goes on at a Java frame further up when native code can't be left, and says so in the stack.
    fn resume(&mut self, cursor: &Cursor, end: StackEnd) -> Result<Cursor, StackEnd> {
        let native = matches!(
            end,
            StackEnd::NoUnwindInfo
                | StackEnd::ReturnProbe
                | StackEnd::NoProgress
                | StackEnd::PageMissing
        );
        // After Java frames only a call from the JVM into Java says where the next ones are.
        if !native || (self.passed_java && self.call_wrapper.is_none()) {
            return Err(end);
        }
        let hotspot = self.hotspot.as_mut().ok_or(end)?;
        let wrapper = self.call_wrapper.take();
        let next = hotspot.resume(&mut self.java, wrapper, cursor).ok_or(end)?;
        self.java
            .frames
            .push(Frame::Marker(Marker::ResumedAtAnchor));
        // The JVM has said where this frame is: nothing is left to compare.
        self.is_in_java = true;
        self.has_resumed = true;
        Ok(next)
    }
}

/// The stack as reports get it: where frames are missing at the end, a marker says so.
pub fn finish(walked: &mut Vec<Frame>, end: StackEnd) -> Stack {
    if end == StackEnd::Truncated {
        walked.push(Frame::Marker(Marker::Truncated));
    }
    // Most stacks are kept for long: no larger than they are, with room for the probed function.
    let mut frames = Vec::with_capacity(walked.len() + 1);
    frames.append(walked);
    Stack { frames, end }
}

/// Where a walk of `capture` begins.
pub fn first<'a>(capture: &StackCapture<'a>, arch: Arch) -> (Cursor, CapturedStack<'a>) {
    let registers = capture.registers;
    let lr = (arch == Arch::Aarch64).then_some(registers.lr);
    let cursor = Cursor {
        pc: registers.ip,
        sp: registers.sp,
        fp: registers.fp,
        bx: None,
        lr,
        is_return_address: capture.ip_is_return_address,
    };
    (cursor, CapturedStack::new(capture, arch))
}
