//! The words of the settings, each with the values that it can have.

use std::num::NonZeroU64;

use crate::functions::Group;

/// The groups of functions to hook; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    pub zlib: bool,
    pub mmap: bool,
    pub malloc: bool,
    pub pairs: bool,
    /// Implies mmap.
    pub growth: bool,
}

impl Hooks {
    /// The names of the selected groups, as `--hooks` takes them.
    pub fn names(self) -> Vec<&'static str> {
        [
            (self.zlib, "zlib"),
            (self.mmap, "mmap"),
            (self.malloc, "malloc"),
            (self.pairs, "pairs"),
            (self.growth, "growth"),
        ]
        .into_iter()
        .filter_map(|(selected, name)| selected.then_some(name))
        .collect()
    }
}

impl Hooks {
    pub fn groups(self) -> Vec<Group> {
        let selected = |group: &Group| match group {
            Group::Zlib => self.zlib,
            Group::Mmap => self.mmap,
            Group::Malloc => self.malloc,
            Group::Pairs => self.pairs,
            Group::Growth => self.growth,
        };
        Group::ALL.into_iter().filter(selected).collect()
    }
}

/// Mean distance of two samples of the malloc family, in allocated bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleInterval {
    /// Every allocation is recorded.
    Exact,
    Bytes(NonZeroU64),
}

impl SampleInterval {
    /// Beyond this a sample says nothing about anything.
    pub(super) const LONGEST: u64 = 1 << 30;

    /// Bytes, 0 for exact: the form of `capture.json` and of the probes' configuration.
    pub fn bytes(self) -> u64 {
        match self {
            SampleInterval::Exact => 0,
            SampleInterval::Bytes(bytes) => bytes.get(),
        }
    }
}

/// Cap of the copied stack: a power of two from 4 KiB to 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackCap(u32);

impl StackCap {
    pub const CLASSES: [u32; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

    /// None when it is not one of [`StackCap::CLASSES`].
    pub fn new(bytes: u64) -> Option<StackCap> {
        StackCap::CLASSES
            .into_iter()
            .find(|class| u64::from(*class) == bytes)
            .map(StackCap)
    }

    pub fn bytes(self) -> u32 {
        self.0
    }
}

/// Sizes in bytes, both ends included, that are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeFilter {
    pub min: Option<u64>,
    pub max: Option<u64>,
}

/// What makes two allocations the same site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    Stack,
    StackAndThread,
}

/// Sizes of what is allocated in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// A power of two and a multiple of the page size. When the ring is full, stacks and lifetimes are lost and
    /// counted, outstanding bytes are not.
    pub ring_bytes: u32,
    /// Entries of the map of outstanding allocations. When it is full, further allocations are lost and counted.
    pub max_outstanding: u32,
}

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    Normal,
    Verbose,
    /// Also the messages of the probes.
    Probes,
}
