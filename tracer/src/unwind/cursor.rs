//! Where a walk stands, and the copied stack that it reads.

use crate::stack::StackEnd;

use super::StackCapture;
use super::arch::Arch;

/// The registers of one frame, as far as a walk follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
    /// `rbx` on x86_64: a few hand-written frames (glibc's lazy binding) find their caller by it. Known once a frame
    /// that saved it has been left.
    pub bx: Option<u64>,
    /// The link register, in a leaf frame on aarch64 only.
    pub lr: Option<u64>,
    /// `pc` is where the frame goes on after a call, and not an instruction that was about to run.
    pub is_return_address: bool,
}

impl Cursor {
    /// Where to look the frame up: the call and not its successor, which may belong to another function.
    pub fn lookup_address(&self) -> u64 {
        if self.is_return_address {
            self.pc.wrapping_sub(1)
        } else {
            self.pc
        }
    }

    /// The caller's registers, for frames that keep nothing but the frame pointer.
    pub fn caller(pc: u64, sp: u64, fp: u64) -> Self {
        Cursor {
            pc,
            sp,
            fp,
            bx: None,
            lr: None,
            is_return_address: true,
        }
    }
}

/// The copied part of a stack: never read from the live target, which goes on using it.
#[derive(Clone, Copy, Debug)]
pub struct CapturedStack<'a> {
    pub arch: Arch,
    start: u64,
    bytes: &'a [u8],
    truncated: bool,
}

impl<'a> CapturedStack<'a> {
    pub fn new(capture: &StackCapture<'a>, arch: Arch) -> Self {
        CapturedStack {
            arch,
            start: capture.registers.sp,
            bytes: capture.bytes,
            truncated: capture.truncated,
        }
    }

    /// The word at `address`.
    ///
    /// # Errors
    /// `Truncated` beyond the end of a copy that was cut off, `NoProgress` for any other place that no frame may have.
    pub fn word(&self, address: u64) -> Result<u64, StackEnd> {
        let offset = address
            .checked_sub(self.start)
            .ok_or(StackEnd::NoProgress)?;
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.bytes.get(offset..)?.first_chunk());
        bytes
            .map(|bytes| u64::from_le_bytes(*bytes))
            .ok_or(self.beyond())
    }

    /// The return address in the word at `address`, which may be signed.
    ///
    /// # Errors
    /// Those of [`CapturedStack::word`].
    pub fn return_address(&self, address: u64) -> Result<u64, StackEnd> {
        self.word(address).map(|word| self.arch.strip(word))
    }

    /// Why there is nothing above the copied bytes.
    fn beyond(&self) -> StackEnd {
        if self.truncated {
            StackEnd::Truncated
        } else {
            StackEnd::NoProgress
        }
    }

    pub fn contains(&self, address: u64) -> bool {
        address
            .checked_sub(self.start)
            .is_some_and(|offset| offset < self.bytes.len() as u64)
    }

    /// Whether a frame at `next` may be the caller of one at `now`. A caller lies above; only a leaf that has not
    /// touched the stack yet (aarch64) may share its stack pointer.
    ///
    /// # Errors
    /// `NoProgress` where it does not lie above or is not aligned.
    pub fn check_progress(&self, now: &Cursor, next: &Cursor) -> Result<(), StackEnd> {
        let leaf = now.lr.is_some() && next.sp == now.sp && next.pc != now.pc;
        if next.sp.is_multiple_of(8) && (next.sp > now.sp || leaf) {
            Ok(())
        } else {
            Err(StackEnd::NoProgress)
        }
    }
}
