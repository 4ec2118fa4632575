//! Walks over recorded stacks and JVM memory with changes, and over any bytes.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::stack::{Frame, Marker, MethodTable, Stack, StackEnd, UnknownReason};
use crate::target::modules::ModuleTable;
use crate::unwind::fixture::Recorded;
use crate::unwind::fixture::files::FILES;
use crate::unwind::memory::{Memory, RecordedMemory, Unreadable};
use crate::unwind::walk::{MAX_FRAMES, MAX_PHYSICAL};
use crate::unwind::{Registers, ReplacedReturn, StackCapture, Unwinder};

use super::input::Input;

/// All recorded JVMs. A file that can't be read is a broken checkout, which `unwind::tests` reports.
pub static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    FILES
        .iter()
        .filter_map(|(_, json)| Recorded::parse(json).ok())
        .collect()
});

/// Changes of one input.
pub const MAX_EDITS: usize = 64;
/// Reads of one physical frame that is met for the first time: headers, scopes of 256 inlined calls with six names each,
/// seven places for a pushed word, and hops over the segment map.
const READS_PER_FRAME: u64 = 1 << 14;
/// Reads that a stack costs at most: a bound on time that does not depend on the machine.
const MAX_READS: u64 = 1 << 20;
/// A piece that is read at once: `PcDesc`s are the largest.
const MAX_READ: usize = 4 << 20;
/// Names are cut after 4,096 bytes; what is no UTF-8 takes three for one.
const MAX_TEXT: usize = 3 * 4096;
const PAGE_OF_PROBES: u64 = 0x7fff_ffff_e000;
/// Where an input can put bytes of its own.
const OWN: u64 = 0x6000_0000_0000;

/// Walks one stack of one recorded JVM.
///
/// Input: JVM and stack (two bytes each), flags, then up to 64 edits of the stack, the registers or the memory.
///
/// # Panics
/// A walk does not end in bounds, contradicts itself, or says something that can't be.
pub fn walk(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(recorded) = input.pick(&RECORDED) else {
        return;
    };
    let Some(mut case) = Case::read(recorded, &mut input) else {
        return;
    };
    let memory = Edited {
        base: &recorded.memory,
        edits: &case.edits,
        reads: Cell::new(0),
    };
    let mut unwinder = recorded.unwinder_of(&memory, recorded.hotspot());
    if case.flags & RAW != 0 {
        case.bytes = input.rest().to_vec();
    }
    let first = check(&recorded.modules, &mut unwinder, &case, &memory);
    let again = check(&recorded.modules, &mut unwinder, &case, &memory);
    // Where the metadata makes no sense, blobs lie over each other, and are found to replace each other all the time.
    if !is_doubtful(&first) && !is_doubtful(&again) {
        assert_eq!(first, again, "a walk from the caches differs");
    }
}

fn is_doubtful(stack: &Stack) -> bool {
    let is_of_the_jvm = |frame: &Frame| {
        matches!(
            frame,
            Frame::Unknown {
                reason: UnknownReason::Replaced
                    | UnknownReason::BadMetadata
                    | UnknownReason::NoCodeBlob,
                ..
            }
        )
    };
    stack.frames.iter().any(is_of_the_jvm)
}

/// The capture was cut off.
const TRUNCATED: u8 = 1;
const AT_RETURN: u8 = 2;
/// The stack is younger than anything that was read of the JVM: the unwinder looks at everything again.
const YOUNG: u8 = 4;
/// Older than any read, and not so old that it is not believed for that.
const OLD: Duration = Duration::from_millis(50);
/// The stack is the rest of the input.
const RAW: u8 = 8;
/// Pages of the stack could not be read.
const HOLES: u8 = 16;
const EVERY_OTHER: u16 = 0b1010_1010_1010_1010;

/// One capture and what is changed.
pub struct Case {
    pub flags: u8,
    registers: Registers,
    tid: u32,
    bytes: Vec<u8>,
    replaced: Vec<ReplacedReturn>,
    pub edits: Vec<Edit>,
}

/// Memory that is other than recorded.
pub struct Edit {
    pub address: u64,
    /// None makes it unreadable.
    pub bytes: Option<Vec<u8>>,
}

impl Case {
    /// Reads a case about one of the stacks of `recorded`.
    pub fn read(recorded: &Recorded, input: &mut Input<'_>) -> Option<Self> {
        let (stack, bytes) = input.pick(&recorded.stacks)?;
        let mut case = Case {
            flags: input.u8(),
            registers: Registers {
                ip: stack.ip,
                sp: stack.sp,
                fp: stack.fp,
                lr: 0,
            },
            tid: stack.tid,
            bytes: bytes.clone(),
            replaced: Vec::new(),
            edits: Vec::new(),
        };
        let edits = usize::from(input.u8()) % (MAX_EDITS + 1);
        for _ in 0..edits {
            case.edit(recorded, input);
        }
        Some(case)
    }

    fn edit(&mut self, recorded: &Recorded, input: &mut Input<'_>) {
        match input.u8() % 10 {
            0..3 => {
                let at = usize::from(input.u16()) * 8;
                let word = self.value(recorded, input);
                if let Some(slot) = self.bytes.get_mut(at..at + 8) {
                    slot.copy_from_slice(&word.to_le_bytes());
                }
            }
            3..6 => {
                let address = in_memory(recorded, input);
                let word = self.value(recorded, input).to_le_bytes();
                let len = [1, 2, 4, 8][usize::from(input.u8() % 4)];
                let bytes = word.get(..len).map(<[u8]>::to_vec);
                self.edits.push(Edit { address, bytes });
            }
            6 => self.edits.push(Edit {
                address: in_memory(recorded, input),
                bytes: None,
            }),
            7 => {
                let len = usize::from(input.u8());
                let bytes = Some(input.bytes(len).to_vec());
                self.edits.push(Edit {
                    address: OWN,
                    bytes,
                });
            }
            8 => {
                let value = self.value(recorded, input);
                match input.u8() % 4 {
                    0 => self.registers.ip = value,
                    1 => self.registers.sp = value,
                    2 => self.registers.fp = value,
                    _ => self.tid = value as u32,
                }
            }
            _ => {
                let slot = self.value(recorded, input);
                let original = self.value(recorded, input);
                self.replaced.push(ReplacedReturn { slot, original });
            }
        }
    }

    /// A word that may mean something to a walk.
    fn value(&self, recorded: &Recorded, input: &mut Input<'_>) -> u64 {
        match input.u8() % 9 {
            0 => input.u64(),
            1 => u64::from(input.u16()),
            2 => u64::MAX - u64::from(input.u16()),
            3 => self.registers.sp.wrapping_add(u64::from(input.u16())),
            4 => recorded
                .code_cache
                .low()
                .wrapping_add(u64::from(input.u32())),
            5 => in_memory(recorded, input),
            6 => {
                let at = usize::from(input.u16()) * 8;
                let word = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
                word.map_or(0, |word| u64::from_le_bytes(*word))
            }
            7 => PAGE_OF_PROBES + u64::from(input.u8()),
            _ => OWN + u64::from(input.u8()),
        }
    }

    fn capture(&self) -> StackCapture<'_> {
        let now = Instant::now();
        StackCapture {
            registers: self.registers,
            ip_is_return_address: self.flags & AT_RETURN != 0,
            bytes: &self.bytes,
            missing: match self.flags & HOLES {
                0 => 0,
                _ => EVERY_OTHER,
            },
            taken: match self.flags & YOUNG {
                0 => now.checked_sub(OLD).unwrap_or(now),
                _ => now,
            },
            truncated: self.flags & TRUNCATED != 0,
            tid: self.tid,
            replaced: &self.replaced,
            anchor: None,
        }
    }
}

/// An address that was read when the JVM was recorded, or one near it.
fn in_memory(recorded: &Recorded, input: &mut Input<'_>) -> u64 {
    let (index, offset) = (usize::from(input.u16()), u64::from(input.u16()));
    let ranges = &recorded.memory.ranges;
    let Some(index) = index.checked_rem(ranges.len()) else {
        return 0;
    };
    let range = ranges.iter().nth(index);
    range.map_or(0, |(start, bytes)| {
        start.wrapping_add(offset % (bytes.len() as u64 + 8))
    })
}

/// Recorded memory with changes; counts what is read.
pub struct Edited<'a> {
    pub base: &'a RecordedMemory,
    pub edits: &'a [Edit],
    pub reads: Cell<u64>,
}

impl Memory for Edited<'_> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() <= MAX_READS, "more than {MAX_READS} reads");
        assert!(buf.len() <= MAX_READ, "{} bytes at once", buf.len());
        let end = address.checked_add(buf.len() as u64).ok_or(Unreadable)?;
        let covers = |edit: &&Edit| {
            edit.bytes.as_ref().is_some_and(|bytes| {
                edit.address <= address && end - edit.address <= bytes.len() as u64
            })
        };
        match self.edits.iter().rev().find(covers) {
            Some(_) => buf.fill(0),
            None => self.base.read(address, buf)?,
        }
        for edit in self.edits {
            overlay(edit, address, buf)?;
        }
        Ok(())
    }
}

/// Applies `edit` as far as it lies in `buf`, which holds what is at `address`.
fn overlay(edit: &Edit, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
    let Some(bytes) = &edit.bytes else {
        let hole = edit
            .address
            .checked_sub(address)
            .is_some_and(|at| at < buf.len() as u64);
        return if hole { Err(Unreadable) } else { Ok(()) };
    };
    for (index, &byte) in bytes.iter().enumerate() {
        let at = edit.address.wrapping_add(index as u64).checked_sub(address);
        if let Some(slot) = at.and_then(|at| buf.get_mut(usize::try_from(at).ok()?)) {
            *slot = byte;
        }
    }
    Ok(())
}

/// Walks once and checks what holds for every stack.
pub fn check(
    modules: &ModuleTable,
    unwinder: &mut Unwinder<&Edited<'_>>,
    case: &Case,
    memory: &Edited<'_>,
) -> Stack {
    memory.reads.set(0);
    let capture = case.capture();
    let stack = unwinder.unwind(modules, &capture);
    let physical = (capture.bytes.len() / 8 + 2).min(MAX_PHYSICAL) as u64;
    assert!(
        memory.reads.get() <= physical * READS_PER_FRAME,
        "{} reads",
        memory.reads.get()
    );
    assert!(!stack.frames.is_empty());
    assert!(
        stack.frames.len() <= MAX_FRAMES + 1,
        "{} frames",
        stack.frames.len()
    );
    let cut = stack.frames.last() == Some(&Frame::Marker(Marker::Truncated));
    assert_eq!(cut, stack.end == StackEnd::Truncated);
    for frame in &stack.frames {
        check_frame(frame, modules, unwinder.methods());
    }
    stack
}

fn check_frame(frame: &Frame, modules: &ModuleTable, methods: &MethodTable) {
    match frame {
        Frame::Native { module, .. } => assert!(modules.get(*module).is_some()),
        Frame::Java { method, .. } => {
            let method = methods
                .methods
                .get(method.0 as usize)
                .expect("a method that is known");
            for text in [&method.class, &method.name, &method.signature] {
                assert!(text.len() <= MAX_TEXT, "{} bytes", text.len());
            }
        }
        Frame::Stub { name } => assert!(!name.is_empty()),
        Frame::Unknown { .. } | Frame::Marker(_) => {}
    }
}
