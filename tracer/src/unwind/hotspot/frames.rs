//! Leaving frames of generated code (unwinding rules at return addresses).

use std::sync::Arc;

use tracer_common::event::ANCHOR_WORDS;

use crate::stack::{Frame, Marker, MethodTable, StackEnd, UnknownReason};
use crate::unwind::arch::Arch;
use crate::unwind::cursor::{CapturedStack, Cursor};
use crate::unwind::memory::Memory;

use super::HotSpot;
use super::call;
use super::code::{FrameRule, JavaCode, Resolver};
use super::moment::Moment;

/// Words that code may have pushed around a call of C code, to align the stack or to keep registers, and that its frame
/// size does not count. Six have been seen.
const MAX_PUSHED: u64 = 6;
/// The stub that compiled code calls when it is entered and the collector wants to see it first (`method_entry_barrier`)
/// keeps this below the caller's return address.
const BARRIER_COOKIE: u64 = u64::MAX;

/// The JVM's name of adapters between compiled and interpreted code (`AdapterHandlerLibrary`, 8 to 25).
const ADAPTERS: &str = "I2C/C2I adapters";

/// Slots of an interpreter frame, in bytes below the frame pointer.
const SENDER_SP: u64 = 8;
const METHOD: u64 = 24;

/// Where the interpreter keeps the bytecode pointer.
fn bytecode_pointer(arch: Arch, release: u32) -> u64 {
    match arch {
        // JDK 8 has no mirror slot and one less.
        _ if release < 9 => 56,
        Arch::X86_64 => 64,
        Arch::Aarch64 => 72,
    }
}

/// What a walk lends to the JVM's unwinder.
pub struct Walk<'a, M> {
    pub memory: &'a M,
    pub methods: &'a mut MethodTable,
    pub stack: CapturedStack<'a>,
    pub frames: &'a mut Vec<Frame>,
    pub moment: Moment,
    /// The thread, by the id that the target sees.
    pub tid: u32,
    /// The first words of its `JavaFrameAnchor` when the stack was copied.
    pub anchor: Option<[u64; ANCHOR_WORDS]>,
}

/// A frame that was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JavaStep {
    pub cursor: Cursor,
    /// The call stub's caller keeps the last Java frame before it here: address of a `JavaCallWrapper`.
    pub call_wrapper: Option<u64>,
}

impl HotSpot {
    /// Adds the frames at `now`, which is in the code cache, and leaves them.
    ///
    /// # Errors
    /// `BadCodeBlob` where the JVM's metadata does not lead to a caller; else those of `CapturedStack::word`.
    pub fn step<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
    ) -> Result<JavaStep, StackEnd> {
        let code = match self.reached(walk, now) {
            Ok(code) => code,
            Err(reason) => return self.unknown(walk, now, reason),
        };
        walk.frames.extend_from_slice(&code.frames);
        let mut call_wrapper = None;
        let cursor = match &code.rule {
            FrameRule::FixedSize(bytes) if !code.may_call_java => self.leaf_call(walk, now, *bytes),
            FrameRule::FixedSize(bytes) => self.fixed_size(walk, now, *bytes),
            FrameRule::Deoptimized { .. } => self.deoptimized(walk, now, &code),
            FrameRule::Interpreter => self.interpreter(walk, now),
            FrameRule::FramePointer if code.is_barrier => {
                walk.frames.push(Frame::Marker(Marker::ParkedVirtualThread));
                self.barrier(walk, now)
            }
            FrameRule::FramePointer => by_frame_pointer(&walk.stack, now),
            FrameRule::CallStub => {
                let words = i64::from(self.layout.call_wrapper_words);
                let slot = now.fp.checked_add_signed(words * 8);
                call_wrapper = slot.and_then(|slot| walk.stack.word(slot).ok());
                by_frame_pointer(&walk.stack, now)
            }
        };
        Ok(JavaStep {
            cursor: cursor?,
            call_wrapper,
        })
    }

    /// The code that the frame before was called from.
    fn reached<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
    ) -> Result<Arc<JavaCode>, UnknownReason> {
        let is_below_java = matches!(walk.frames.last(), Some(Frame::Java { .. }));
        let found = self.code(walk.memory, walk.methods, walk.moment, now.pc);
        match found {
            Ok(code) if code.may_call_java || !is_below_java => Ok(code),
            found => {
                let reason = found.err().unwrap_or(UnknownReason::Replaced);
                self.either(walk, now).ok_or(reason)
            }
        }
    }

    /// Adds a frame whose code is not known, and leaves it if its size is.
    fn unknown<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
        reason: UnknownReason,
    ) -> Result<JavaStep, StackEnd> {
        walk.frames.push(Frame::Unknown {
            address: now.pc,
            reason,
        });
        let cursor = self.proven_caller(walk, now).ok_or(StackEnd::BadCodeBlob)?;
        Ok(JavaStep {
            cursor,
            call_wrapper: None,
        })
    }

    /// Of two things that the code may have been, the one whose frame leads to a caller, if the other's does not.
    fn either<M: Memory>(&self, walk: &Walk<'_, M>, now: &Cursor) -> Option<Arc<JavaCode>> {
        let leads = |code: &Arc<JavaCode>| {
            let top = now.sp.checked_add(code.rule.bytes()?)?;
            let pc = walk.stack.return_address(top.checked_sub(8)?).ok()?;
            Some(self.contains(pc))
        };
        let [code, before] = self.known.candidates(now.pc)?;
        let is_all = self.known.are_all(walk.moment, now.pc);
        if !is_all || !code.may_call_java || !before.may_call_java {
            return None;
        }
        match (leads(&code)?, leads(&before)?) {
            (true, false) => Some(code),
            (false, true) => Some(before),
            _ => None,
        }
    }

    /// Adds the method that `now` interrupted, as at a page fault. Where its frame stands between two calls nothing tells,
    /// least of all in a prologue: the walk ends here.
    pub fn running<M: Memory>(&mut self, walk: &mut Walk<'_, M>, now: &Cursor) -> StackEnd {
        let frame = match self.code(walk.memory, walk.methods, walk.moment, now.pc) {
            Ok(code) => code.frames.last().cloned().unwrap_or(Frame::Stub {
                name: Arc::clone(&code.blob.name),
            }),
            Err(reason) => Frame::Unknown {
                address: now.pc,
                reason,
            },
        };
        walk.frames.push(frame);
        StackEnd::InJava
    }

    /// Leaves compiled code that calls the JVM's or C code without a safepoint. Since JDK 24 C2's code keeps all registers
    /// in use around the slow path of a collector's barrier (`SaveLiveRegisters`): it says itself how many, where it
    /// restores them.
    fn leaf_call<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
        bytes: u64,
    ) -> Result<Cursor, StackEnd> {
        let saved = call::restored_after(walk.memory, walk.stack.arch, now.pc).unwrap_or(0);
        let sp = bytes
            .checked_add(saved)
            .and_then(|bytes| now.sp.checked_add(bytes));
        let sp = sp.filter(|_| saved != 0);
        let returns =
            sp.and_then(|sp| Some((sp, walk.stack.return_address(sp.checked_sub(8)?).ok()?)));
        match returns {
            Some((sp, pc)) if self.is_code(walk, pc) && is_call(walk, pc) => {
                let fp = walk.stack.word(sp.wrapping_sub(16))?;
                Ok(Cursor::caller(pc, sp, fp))
            }
            _ => self.fixed_size(walk, now, bytes),
        }
    }

    /// Callers of compiled code are generated code, too (the interpreter, compiled code, the call stub): by that the
    /// return address is recognised where the code has pushed something.
    fn fixed_size<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
        bytes: u64,
    ) -> Result<Cursor, StackEnd> {
        let top = now.sp.checked_add(bytes).ok_or(StackEnd::NoProgress)?;
        // A caller whose code is gone is still the caller: the next step says what it lacks, and what lies above belongs to
        // frames further up.
        let first = walk.stack.return_address(top.wrapping_sub(8))?;
        if self.contains(first) && !self.is_adapter(walk, first) {
            let fp = walk.stack.word(top.wrapping_sub(16))?;
            return Ok(Cursor::caller(first, top, fp));
        }
        for pushed in 1..=MAX_PUSHED {
            let sp = top.checked_add(8 * pushed).ok_or(StackEnd::NoProgress)?;
            let Ok(pc) = walk.stack.return_address(sp.wrapping_sub(8)) else {
                break;
            };
            let is_caller =
                self.contains(pc) && !self.is_adapter(walk, pc) && self.is_code(walk, pc);
            if is_caller {
                let fp = walk.stack.word(sp.wrapping_sub(16))?;
                return Ok(Cursor::caller(pc, sp, fp));
            }
        }
        Err(StackEnd::BadCodeBlob)
    }

    /// Whether `pc` is in an adapter between compiled and interpreted code. They are jumped through and return to nobody:
    /// such an address on the stack is a saved register, as around a collector's barrier.
    fn is_adapter<M: Memory>(&mut self, walk: &mut Walk<'_, M>, pc: u64) -> bool {
        let code = self.code(walk.memory, walk.methods, walk.moment, pc);
        code.is_ok_and(|code| &*code.blob.name == ADAPTERS)
    }

    fn is_code<M: Memory>(&mut self, walk: &mut Walk<'_, M>, pc: u64) -> bool {
        if !self.contains(pc) {
            return false;
        }
        let code = self.code(walk.memory, walk.methods, walk.moment, pc).ok();
        self.next = code.map(|code| (walk.moment, pc, code));
        self.next.is_some()
    }

    fn deoptimized<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
        code: &Arc<JavaCode>,
    ) -> Result<Cursor, StackEnd> {
        let FrameRule::Deoptimized {
            bytes,
            orig_pc_offset,
            code: range,
        } = &code.rule
        else {
            return Err(StackEnd::BadCodeBlob);
        };
        let slot = now
            .sp
            .checked_add(u64::from(*orig_pc_offset))
            .ok_or(StackEnd::NoProgress)?;
        let pc = walk.stack.word(slot)?;
        let original = if range.contains(&pc) {
            self.code(walk.memory, walk.methods, walk.moment, pc).ok()
        } else {
            None
        };
        match original.filter(|original| !original.frames.is_empty()) {
            Some(original) => walk.frames.extend_from_slice(&original.frames),
            None => walk.frames.push(Frame::Unknown {
                address: now.pc,
                reason: UnknownReason::BadMetadata,
            }),
        }
        self.fixed_size(walk, now, *bytes)
    }

    fn interpreter<M: Memory>(
        &mut self,
        walk: &mut Walk<'_, M>,
        now: &Cursor,
    ) -> Result<Cursor, StackEnd> {
        if now.fp < now.sp || !now.fp.is_multiple_of(8) {
            walk.frames.push(Frame::Unknown {
                address: now.pc,
                reason: UnknownReason::BadMetadata,
            });
            return Err(StackEnd::BadCodeBlob);
        }
        let slot = |below: u64| walk.stack.word(now.fp.wrapping_sub(below));
        let bcp = bytecode_pointer(walk.stack.arch, self.layout.release);
        let (method, bcp) = (slot(METHOD), slot(bcp));
        let frame = match (method, bcp) {
            (Err(StackEnd::Truncated), _) | (_, Err(StackEnd::Truncated)) => {
                return Err(StackEnd::Truncated);
            }
            (Ok(method), Ok(bcp)) => self.resolver(walk).interpreted(method, bcp, now.pc),
            _ => Frame::Unknown {
                address: now.pc,
                reason: UnknownReason::BadMetadata,
            },
        };
        // The caller's stack pointer is not above this frame's: locals and adapters extend the caller.
        let sender = walk.stack.word(now.fp.wrapping_sub(SENDER_SP));
        let (pc, fp) = (
            walk.stack.return_address(now.fp.wrapping_add(8)),
            walk.stack.word(now.fp),
        );
        walk.frames.push(frame);
        Ok(Cursor::caller(pc?, sender?, fp?))
    }

    fn resolver<'a, M: Memory>(&'a mut self, walk: &'a mut Walk<'_, M>) -> Resolver<'a, M> {
        Resolver {
            memory: walk.memory,
            layout: &self.layout,
            methods: &mut self.methods,
            table: walk.methods,
            moment: walk.moment,
        }
    }
}

fn is_call<M: Memory>(walk: &Walk<'_, M>, pc: u64) -> bool {
    call::ends_at(walk.memory, walk.stack.arch, pc)
}

fn by_frame_pointer(stack: &CapturedStack<'_>, now: &Cursor) -> Result<Cursor, StackEnd> {
    if now.fp < now.sp {
        return Err(StackEnd::NoProgress);
    }
    let above = |bytes: u64| now.fp.checked_add(bytes).ok_or(StackEnd::NoProgress);
    let is_barrier = stack.word(above(8)?)? == BARRIER_COOKIE;
    let slot = above(if is_barrier { 16 } else { 8 })?;
    let sp = slot.checked_add(8).ok_or(StackEnd::NoProgress)?;
    let pc = stack.return_address(slot)?;
    Ok(Cursor::caller(pc, sp, stack.word(now.fp)?))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::unwind::{Registers, StackCapture};

    /// A stub's frame is left by its frame pointer, also where a word lies between it and the return address.
    #[test]
    fn entry_barrier() {
        for (between, sp) in [(vec![], 0x1010), (vec![BARRIER_COOKIE], 0x1018)] {
            let words = [vec![0x2000], between, vec![0xbeef, 7]].concat();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let registers = Registers {
                sp: 0x1000,
                fp: 0x1000,
                ..Registers::default()
            };
            let capture = StackCapture {
                registers,
                ip_is_return_address: true,
                bytes: &bytes,
                missing: 0,
                truncated: false,
                taken: Instant::now(),
                tid: 1,
                anchor: None,
                replaced: &[],
            };
            let stack = CapturedStack::new(&capture, Arch::HOST);
            let now = Cursor::caller(0xface, 0x1000, 0x1000);
            let caller = by_frame_pointer(&stack, &now);
            assert_eq!(caller, Ok(Cursor::caller(0xbeef, sp, 0x2000)));
        }
    }
}
