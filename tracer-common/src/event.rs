//! Records of the ring `EVENTS`. Each begins with a [`Header`].

use crate::config::STACK_CLASSES;

/// What a record is.
pub mod kind {
    /// [`Captured`](super::Captured): a block was allocated.
    pub const ALLOCATED: u32 = 1;
    /// [`Captured`](super::Captured): a region was mapped.
    pub const MAPPED: u32 = 2;
    /// [`Captured`](super::Captured): a region was moved or resized.
    pub const REMAPPED: u32 = 3;
    /// [`Captured`](super::Captured): a stream was opened.
    pub const OPENED: u32 = 4;
    /// [`Freed`](super::Freed): a tracked block was freed.
    pub const FREED: u32 = 5;
    /// [`Freed`](super::Freed): a block that the kernel does not track was freed, after its map had been full.
    pub const FREED_UNKNOWN: u32 = 6;
    /// [`Freed`](super::Freed): a tracked stream or object was closed.
    pub const CLOSED: u32 = 7;
    /// [`Freed`](super::Freed): a region was unmapped; `size` is its length.
    pub const UNMAPPED: u32 = 8;
    /// [`Captured`](super::Captured): a page became resident; `size` is what it stands for.
    pub const FAULTED: u32 = 9;
    /// [`Captured`](super::Captured): an object of a pair of functions was opened. It is closed by `CLOSED`.
    pub const OBJECT: u32 = 10;
}

/// The kernel's map was full: userspace has to keep this allocation.
pub const FLAG_SPILLED: u16 = 1;
/// The stack is known to be longer than the cap.
pub const FLAG_TRUNCATED: u16 = 2;
/// A stream was opened where another was open and never closed; `arguments[2]` is the older one's time.
pub const FLAG_REPLACED: u16 = 4;
/// The instruction pointer is a return address: the capture was taken at a function's return.
pub const FLAG_AT_RETURN: u16 = 8;
/// There was room for the record and none for its stack.
pub const FLAG_STACK_LOST: u16 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    pub point: u32,
    /// Thread, as the kernel's first namespace numbers it.
    pub tid: u32,
    pub flags: u16,
    /// Of a block: which of the run's sampling intervals it was chosen under.
    pub level: u16,
    /// Block, region or stream.
    pub address: u64,
    /// Requested bytes.
    pub size: u64,
    /// Nanoseconds of the monotonic clock: when the allocation was made.
    pub time: u64,
}

const _: () = assert!(size_of::<Header>() == 40);

/// A return address that a return probe has replaced on the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ReplacedReturn {
    /// Address of the stack slot; 0 means none.
    pub slot: u64,
    pub return_address: u64,
}

/// Pending return probes that a capture tells of: an allocator within another, within a stream's function.
pub const REPLACED: usize = 4;

/// Stack pointer, pc and frame pointer of the last Java frame, in any order.
pub const ANCHOR_WORDS: usize = 3;

/// An allocation with its stack: this, then whole pages of stack from the page of `sp` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Captured {
    pub header: Header,
    /// Mapping: protection, flags, file descriptor. Remapping: old address, old length, flags. Stream: windowBits,
    /// memLevel, the time of the stream that it replaces. Object: 0, 0, the same.
    pub arguments: [u64; 3],
    pub ip: u64,
    pub sp: u64,
    pub fp: u64,
    /// Link register on aarch64, 0 on x86_64.
    pub lr: u64,
    /// Innermost first; unused ones are zero.
    pub replaced: [ReplacedReturn; REPLACED],
    /// The first words of the thread's `JavaFrameAnchor`, where the JVM notes its last Java frame.
    pub anchor: [u64; ANCHOR_WORDS],
    /// Name of the thread: many do not live until userspace looks.
    pub comm: [u8; 16],
    /// 1 where `anchor` was read, 0 for a thread that userspace has told nothing of.
    pub has_anchor: u32,
    /// Pages that follow. The first holds nothing below `sp`.
    pub pages: u16,
    /// Those of them that could not be read, as bits from the lowest page on: never touched, or swapped out. They are
    /// zero.
    pub missing: u16,
}

const _: () = assert!(size_of::<Captured>() == 208);
const _: () = assert!(STACK_CLASSES[STACK_CLASSES.len() - 1] <= u16::BITS);

/// An allocation has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Freed {
    /// `time` is that of the allocation, so that it names the one that ended.
    pub header: Header,
    /// Nanoseconds of the monotonic clock: when it ended.
    pub now: u64,
    /// Name of the thread that ended it; only for streams and objects.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Freed>() == 64);
