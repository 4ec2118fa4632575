//! What userspace decides once, before the programs are loaded.

/// Page size that the stack copy works with. Bigger pages only make it stop earlier than it could.
pub const PAGE: u64 = 4096;

/// Record sizes of the stack copy, in pages. A record takes the smallest class that holds the used stack. A power of two and
/// one more: a stack of 16 KiB begins somewhere in its first page, and so lies in five.
pub const STACK_CLASSES: [u32; 5] = [2, 3, 5, 9, 16];

/// Attach points in one run; more are refused and reported.
pub const MAX_POINTS: u32 = 1024;

/// Pairs of functions in one run; number 0 stands for none.
pub const MAX_PAIRS: u32 = 256;

/// Stands for page faults in their records: no attach point has this number.
pub const FAULT_POINT: u32 = MAX_POINTS;

/// Page faults of which one is recorded, on each CPU.
pub const FAULT_PERIOD: u64 = 64;

/// Offsets in bytes within structs of the running kernel; a group is 0 where the kernel does not describe itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KernelOffsets {
    /// The thread pointer, in `task_struct`.
    pub thread_pointer: u32,
    /// `utask` in `task_struct`: the thread's `uprobe_task`, if it has one.
    pub utask: u32,
    /// `return_instances` in `uprobe_task`: the innermost pending return probe.
    pub return_instances: u32,
    /// In `return_instance`: where the return address was, what it was, and the next one towards the root.
    pub slot: u32,
    pub return_address: u32,
    pub next: u32,
}

/// Read-only configuration of the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Process that is traced, as the kernel's first pid namespace numbers it.
    pub tgid: u32,
    /// Cap of the copied stack in pages, at most the last of [`STACK_CLASSES`].
    pub stack_pages: u32,
    /// Userspace is woken when this many bytes wait in the ring.
    pub wakeup_bytes: u32,
    /// Events of blocks are turned away when this many bytes wait.
    pub block_bytes: u32,
    /// Where the kernel keeps what the stack copy needs.
    pub offsets: KernelOffsets,
    /// Smallest and biggest requested size that is recorded, in bytes.
    pub min_size: u64,
    pub max_size: u64,
}

const _: () = assert!(size_of::<Config>() == 56);

/// What userspace changes while the programs run: the one element of the map `CONTROL`, which they only read.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Control {
    /// Address of the kernel's return-probe trampoline in the target; 0 until it is known.
    pub trampoline: u64,
    /// The [`group`]s whose calls are recorded. Entries of the others are only counted; calls that were entered before
    /// still return.
    pub recording: u64,
    pub sampling: Sampling,
}

const _: () = assert!(size_of::<Control>() == 24);

/// How the malloc family is sampled, in one word, so that no program can see half a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Sampling(u64);

impl Sampling {
    /// `interval`: the mean in bytes, at most [`MAX_INTERVAL`](crate::sampling::MAX_INTERVAL); 0 records every allocation.
    /// `level` numbers the intervals of a run, so that a block can tell under which it was chosen.
    pub const fn new(interval: u32, level: u16) -> Self {
        Sampling(interval as u64 | (level as u64) << 32)
    }

    #[inline(always)]
    pub const fn interval(self) -> u64 {
        self.0 & 0xffff_ffff
    }

    #[inline(always)]
    pub const fn level(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// Groups of hooked functions, as bits.
pub mod group {
    pub const ZLIB: u64 = 1;
    pub const MMAP: u64 = 2;
    pub const MALLOC: u64 = 4;
    pub const GROWTH: u64 = 8;
    pub const PAIRS: u64 = 16;
}
