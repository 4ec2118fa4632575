//! Native frames, on the stack of the test itself.

use std::arch::asm;
use std::cell::RefCell;

use crate::stack::{Frame, Marker, Stack, StackEnd, UnknownReason};
use crate::target::modules::{ModuleTable, maps};
use crate::unwind::memory::{Memory, ProcessMemory};
use crate::unwind::{Registers, ReplacedReturn, StackCapture, Unwinder};

const PAGE_OF_PROBES: u64 = 0x7fff_ffff_e000;

/// A copy of this thread's stack.
#[derive(Clone, Debug)]
pub struct OwnStack {
    pub registers: Registers,
    pub bytes: Vec<u8>,
    pub truncated: bool,
    pub replaced: Vec<ReplacedReturn>,
}

impl OwnStack {
    #[inline(never)]
    pub fn here() -> Self {
        let (ip, sp, fp): (u64, u64, u64);
        // SAFETY: reads three registers.
        unsafe {
            asm!("lea {0}, [rip]", "mov {1}, rsp", "mov {2}, rbp", out(reg) ip, out(reg) sp, out(reg) fp)
        };
        let text = maps::read(std::process::id()).unwrap();
        let end = maps::parse(&text)
            .find(|mapping| (mapping.start..mapping.end).contains(&sp))
            .unwrap()
            .end;
        let bytes = ProcessMemory::open(std::process::id())
            .unwrap()
            .read_vec(sp, (end - sp) as usize)
            .unwrap();
        OwnStack {
            registers: Registers { ip, sp, fp, lr: 0 },
            bytes,
            truncated: false,
            replaced: Vec::new(),
        }
    }

    pub fn capture(&self) -> StackCapture<'_> {
        StackCapture {
            registers: self.registers,
            ip_is_return_address: false,
            bytes: &self.bytes,
            missing: 0,
            taken: std::time::Instant::now(),
            truncated: self.truncated,
            tid: 1,
            replaced: &self.replaced,
            anchor: None,
        }
    }

    pub fn unwind(&self) -> Stack {
        let (modules, mut unwinder) = unwinder();
        unwinder.unwind(&modules, &self.capture())
    }

    /// The slots that hold `address`: the one of the frame, and what earlier calls left behind.
    fn slots_of(&self, address: u64) -> Vec<u64> {
        let words = self
            .bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word));
        let slots = words.enumerate().filter(|&(_, word)| word == address);
        slots
            .map(|(at, _)| self.registers.sp + 8 * at as u64)
            .collect()
    }

    fn put(&mut self, slot: u64, word: u64) {
        let at = (slot - self.registers.sp) as usize;
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
}

pub fn unwinder() -> (ModuleTable, Unwinder<ProcessMemory>) {
    let pid = std::process::id();
    let mut modules = ModuleTable::default();
    modules.refresh(pid).unwrap();
    let mut unwinder = Unwinder::new(ProcessMemory::open(pid).unwrap());
    unwinder.modules_changed(&modules);
    (modules, unwinder)
}

/// The address that a frame's file offset has in this process.
fn address(frame: &Frame) -> u64 {
    let (modules, _) = unwinder();
    let Frame::Native { module, offset } = frame else {
        panic!("{frame:?}")
    };
    let ranges = &modules.get(*module).unwrap().ranges;
    let range = ranges.iter().find(|range| {
        (range.file_offset..range.file_offset + (range.end - range.start)).contains(offset)
    });
    range
        .map(|range| range.start + offset - range.file_offset)
        .unwrap()
}

#[inline(never)]
fn nested(depth: u32, inner: &mut dyn FnMut() -> OwnStack) -> OwnStack {
    let mut captured = if depth == 0 {
        inner()
    } else {
        nested(depth - 1, inner)
    };
    // Not a tail call.
    captured.truncated |= std::hint::black_box(false);
    captured
}

/// A thread's stack is walked to its first frame, with one frame per call, and the same way when rules are remembered.
#[test]
fn to_the_root() {
    let deep = nested(20, &mut OwnStack::here);
    let shallow = nested(10, &mut OwnStack::here);
    let (modules, mut unwinder) = unwinder();
    let first = unwinder.unwind(&modules, &deep.capture());
    assert_eq!(first.end, StackEnd::Root, "{first:?}");
    assert!(
        first
            .frames
            .iter()
            .all(|frame| matches!(frame, Frame::Native { .. })),
        "{first:?}"
    );
    assert_eq!(first, unwinder.unwind(&modules, &deep.capture()));
    let second = unwinder.unwind(&modules, &shallow.capture());
    assert_eq!(first.frames.len() - second.frames.len(), 10);
    let recursion = &first.frames[4];
    assert!(first.frames[5..20].iter().all(|frame| frame == recursion));
}

/// A copy that ends early gives the frames that it holds, a marker, and that end: the more bytes, the more frames.
#[test]
fn truncated() {
    let mut captured = nested(20, &mut OwnStack::here);
    let (modules, mut unwinder) = unwinder();
    let whole = unwinder.unwind(&modules, &captured.capture());
    let bytes = std::mem::take(&mut captured.bytes);
    captured.truncated = true;
    let mut before = 0;
    for keep in (0..bytes.len()).step_by(64) {
        captured.bytes = bytes[..keep].to_vec();
        let part = unwinder.unwind(&modules, &captured.capture());
        if part == whole {
            break;
        }
        assert_eq!(part.end, StackEnd::Truncated);
        let (marker, frames) = part.frames.split_last().unwrap();
        assert_eq!(marker, &Frame::Marker(Marker::Truncated));
        assert_eq!(frames, &whole.frames[..frames.len()]);
        assert!(frames.len() >= before);
        before = frames.len();
    }
    assert_eq!(before, whole.frames.len() - 1);
}

/// A return address that a return probe has replaced is put back by its slot; where it is not known the walk ends there.
#[test]
fn return_probe() {
    let mut captured = nested(20, &mut OwnStack::here);
    let whole = captured.unwind();
    // The look-up address is one lower than the return address.
    let original = address(&whole.frames[3]) + 1;
    let ends_there = |slot: &u64| {
        let mut probed = captured.clone();
        probed.put(*slot, PAGE_OF_PROBES);
        let lost = probed.unwind();
        lost.end == StackEnd::ReturnProbe && lost.frames[..] == whole.frames[..3]
    };
    let slot = captured
        .slots_of(original)
        .into_iter()
        .find(ends_there)
        .unwrap();
    captured.put(slot, PAGE_OF_PROBES);
    // Another probe on the same slot has recorded the trampoline.
    captured.replaced = vec![
        ReplacedReturn {
            slot: slot + 64,
            original: 1,
        },
        ReplacedReturn {
            slot,
            original: PAGE_OF_PROBES,
        },
        ReplacedReturn { slot, original },
    ];
    assert_eq!(captured.unwind(), whole);
}

/// A capture at a function's return begins with a return address, and is looked up as one.
#[test]
fn at_return() {
    let captured = nested(3, &mut OwnStack::here);
    let (modules, mut unwinder) = unwinder();
    let mut capture = captured.capture();
    capture.ip_is_return_address = true;
    capture.registers.ip += 1;
    assert_eq!(unwinder.unwind(&modules, &capture), captured.unwind());
}

/// A walk goes through a signal handler to what the signal interrupted.
#[test]
fn through_signal_handler() {
    thread_local!(static CAPTURED: RefCell<Option<OwnStack>> = const { RefCell::new(None) });
    extern "C" fn handler(_: libc::c_int) {
        CAPTURED.set(Some(OwnStack::here()));
    }
    let handler: extern "C" fn(libc::c_int) = handler;
    // SAFETY: the signal is raised by this thread alone, at a place where the handler may do anything.
    unsafe {
        libc::signal(libc::SIGUSR2, handler as libc::sighandler_t);
        libc::raise(libc::SIGUSR2);
    }
    let stack = CAPTURED.take().unwrap().unwind();
    assert_eq!(stack.end, StackEnd::Root, "{stack:?}");
    let plain = OwnStack::here().unwind();
    // Handler, libc's restorer, raise and its parts, this test; the rest is the same as without the signal.
    assert!(stack.frames.len() >= plain.frames.len() + 3, "{stack:?}");
    let common = plain.frames.len() - 2;
    assert_eq!(
        stack.frames[stack.frames.len() - common..],
        plain.frames[plain.frames.len() - common..]
    );
}

/// Code without a file and without unwind tables is left by its frame pointer, and is named as unknown.
#[test]
fn foreign_jit() {
    // push %rbp; mov %rsp,%rbp; call *%rdi; pop %rbp; ret
    let code = [0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3];
    let prot = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: a new mapping of our own.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            prot,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    thread_local!(static CAPTURED: RefCell<Option<Stack>> = const { RefCell::new(None) });
    extern "C" fn callback() {
        CAPTURED.set(Some(OwnStack::here().unwind()));
    }
    // SAFETY: the page is writable and executable, and the code in it follows the C calling convention.
    unsafe {
        page.cast::<[u8; 8]>().write(code);
        let call: extern "C" fn(extern "C" fn()) = std::mem::transmute(page);
        call(callback);
    }
    let stack = CAPTURED.take().unwrap();
    // SAFETY: the mapping made above; nothing runs in it any more.
    unsafe { libc::munmap(page, 4096) };
    assert_eq!(stack.end, StackEnd::Root, "{stack:?}");
    let expected = Frame::Unknown {
        address: page as u64 + 5,
        reason: UnknownReason::AnonymousCode,
    };
    assert!(stack.frames.contains(&expected), "{stack:?}");
}

/// An address where nothing is mapped ends the walk at once, and is not lost.
#[test]
fn nowhere() {
    let mut captured = OwnStack::here();
    captured.registers.ip = 0x1000;
    let stack = captured.unwind();
    assert_eq!(stack.end, StackEnd::NoUnwindInfo);
    assert_eq!(
        stack.frames,
        [Frame::Unknown {
            address: 0x1000,
            reason: UnknownReason::NotMapped
        }]
    );
}
