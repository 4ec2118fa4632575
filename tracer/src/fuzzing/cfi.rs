//! Call frame information: any `.eh_frame`, the rules that it states, and leaving frames by them.

use gimli::UnwindContext;

use crate::stack::StackEnd;
use crate::unwind::arch::Arch;
use crate::unwind::cfi::CfiTables;
use crate::unwind::cursor::{CapturedStack, Cursor};
use crate::unwind::fixture::{ElfImage, memory_file};
use crate::unwind::rule::{Step, apply};
use crate::unwind::{Registers, StackCapture};

use super::input::Input;

/// Where the sections are loaded: code and tables as a small library has them.
const EH_FRAME: u64 = 0x2000;
const HEADER: u64 = 0x1000;
/// Addresses whose rules are looked up. The tables can name others; these are those of the seeds.
const CODE: std::ops::Range<u64> = 0x100..0x200;
const STACK: u64 = 0x7fff_0000_0000;
const MAX_STACK: usize = 4096;

/// Looks rules up in tables, and applies them.
///
/// Input: flags (1: with `.eh_frame_hdr`, 2: truncated), the stack pointer's offset into the stack, frame pointer and
/// base register (two bytes each, into the stack), length of the stack (two bytes), of the header (one), then stack,
/// header and `.eh_frame`.
///
/// # Panics
/// A return address comes from elsewhere than the stack.
pub fn cfi(data: &[u8]) {
    let mut input = Input::new(data);
    let (flags, sp) = (input.u8(), STACK + u64::from(input.u8()));
    let (fp, bx) = (
        STACK + u64::from(input.u16()),
        STACK + u64::from(input.u16()),
    );
    let (stack_len, header_len) = (
        usize::from(input.u16()) % MAX_STACK,
        usize::from(input.u8()),
    );
    let bytes = input.bytes(stack_len);
    let header = input.bytes(header_len);
    let mut image = ElfImage::new();
    if flags & 1 != 0 {
        image = image.section(".eh_frame_hdr", HEADER, header);
    }
    let image = image.section(".eh_frame", EH_FRAME, input.rest()).build();
    let Some(tables) = memory_file(&image)
        .ok()
        .and_then(|file| CfiTables::load(&file))
    else {
        return;
    };
    let registers = Registers {
        ip: 0,
        sp,
        fp,
        lr: 0,
    };
    let capture = StackCapture {
        registers,
        ip_is_return_address: true,
        bytes,
        missing: 0,
        taken: std::time::Instant::now(),
        truncated: flags & 2 != 0,
        tid: 1,
        replaced: &[],
        anchor: None,
    };
    let stack = CapturedStack::new(&capture, Arch::HOST);
    let mut context = UnwindContext::new();
    for pc in CODE.step_by(4) {
        // The one segment maps the file at its own offsets.
        let Some(rule) = tables.rule(pc, &mut context) else {
            continue;
        };
        let now = Cursor {
            bx: Some(bx),
            ..Cursor::caller(pc, sp, fp)
        };
        match apply(&rule, &tables, &now, &stack) {
            Ok(Step::Caller {
                cursor,
                slot: Some(slot),
            }) => assert_eq!(stack.word(slot), Ok(cursor.pc)),
            Ok(Step::Caller { slot: None, .. } | Step::Root) => {}
            Err(end) => {
                assert!(end != StackEnd::Truncated || capture.truncated || is_signal(&rule))
            }
        }
    }
}

fn is_signal(rule: &crate::unwind::cfi::Rule) -> bool {
    matches!(rule, crate::unwind::cfi::Rule::SignalFrame)
}
