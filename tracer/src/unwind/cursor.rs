//! Where a walk stands, and the copied stack that it reads.

use tracer_common::config::PAGE;

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
    /// As in [`StackCapture`].
    missing: u16,
    truncated: bool,
}

impl<'a> CapturedStack<'a> {
    pub fn new(capture: &StackCapture<'a>, arch: Arch) -> Self {
        CapturedStack {
            arch,
            start: capture.registers.sp,
            bytes: capture.bytes,
            missing: capture.missing,
            truncated: capture.truncated,
        }
    }

    /// The word at `address`.
    ///
    /// # Errors
    /// `Truncated` beyond the end of a copy that was cut off, `PageMissing` in a page that could not be read, `NoProgress`
    /// for any other place that no frame may have.
    pub fn word(&self, address: u64) -> Result<u64, StackEnd> {
        let offset = address
            .checked_sub(self.start)
            .ok_or(StackEnd::NoProgress)?;
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.bytes.get(offset..)?.first_chunk());
        let word = bytes.map(|bytes| u64::from_le_bytes(*bytes));
        if self.is_missing(offset) || self.is_missing(offset.saturating_add(7)) {
            return Err(StackEnd::PageMissing);
        }
        word.ok_or(self.beyond())
    }

    /// Whether the byte at `offset` could not be read.
    fn is_missing(&self, offset: u64) -> bool {
        let page = (self.start % PAGE).saturating_add(offset) / PAGE;
        page < u64::from(u16::BITS) && self.missing >> page & 1 != 0
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::unwind::Registers;

    /// No word is read of a page that is missing, also where only a part of the word lies in it; all others are there.
    #[test]
    fn missing_pages() {
        let bytes: Vec<u8> = (0..3 * PAGE - 16).map(|byte| byte as u8).collect();
        let capture = StackCapture {
            registers: Registers {
                sp: 0x7000_0010,
                ..Registers::default()
            },
            ip_is_return_address: false,
            bytes: &bytes,
            missing: 0b10,
            truncated: true,
            taken: Instant::now(),
            tid: 1,
            replaced: &[],
            anchor: None,
        };
        let stack = CapturedStack::new(&capture, Arch::HOST);
        let word = |at: u64| stack.word(0x7000_0000 + at);
        assert_eq!(word(0x10), Ok(0x0706_0504_0302_0100));
        for readable in [0xff8, 0x2000, 0x2ff8] {
            assert!(word(readable).is_ok(), "{readable:#x}");
        }
        for missing in [0xff9, 0x1000, 0x1800, 0x1fff] {
            assert_eq!(word(missing), Err(StackEnd::PageMissing), "{missing:#x}");
        }
        assert_eq!(word(0x2ff9), Err(StackEnd::Truncated));
        assert_eq!(word(8), Err(StackEnd::NoProgress));
        assert_eq!(word(u64::MAX - 0x7000_0000), Err(StackEnd::Truncated));
    }
}
