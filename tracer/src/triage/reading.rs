//! What one look at a process found: plain data, which [`owners`](super::owners) and [`verdict`](super::verdict) judge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::owners::Owner;
use super::smaps::Mapping;

/// One look. The mappings are those of one pass over `smaps`, so that whatever is added up from them is exact.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Since the first look.
    pub seconds: f64,
    pub mappings: Vec<Mapping>,
    /// What the JVM and the allocator say about addresses.
    pub claims: Claims,
    /// Resident bytes of pieces of mappings that several owners share, by first and last address.
    pub pieces: BTreeMap<(u64, u64), u64>,
    pub facts: Facts,
}

/// What is reported of one look besides the owners.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What `smaps_rollup` said right after the pass over `smaps`, in bytes. None: it could not be read.
    pub rollup_rss: Option<u64>,
    pub swap: u64,
    /// Page tables, which are the kernel's memory and not part of RSS.
    pub page_tables: u64,
    pub threads: Threads,
    pub descriptors: Option<Descriptors>,
    pub cgroup: Option<Cgroup>,
    pub malloc: Malloc,
    pub jvm: Option<Jvm>,
    /// What could not be read, and why.
    pub missing: Vec<String>,
}

/// One look, judged: what the report is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub seconds: f64,
    /// The sum of the owners.
    pub rss: u64,
    pub owners: Vec<Owner>,
    #[serde(flatten)]
    pub facts: Facts,
}

impl Summary {
    pub fn of(reading: &Reading) -> Summary {
        let owners = super::owners::owners(reading);
        Summary {
            seconds: reading.seconds,
            rss: owners.iter().map(|owner| owner.resident).sum(),
            owners,
            facts: reading.facts.clone(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Threads {
    pub count: u64,
    /// By name with its digits masked, most frequent first; at most [`MAX_PATTERNS`](super::tasks::MAX_PATTERNS).
    pub patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    pub name: String,
    pub count: u64,
}

/// Open descriptors by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Descriptors {
    pub count: u64,
    /// `RLIMIT_NOFILE`. None: unlimited or unknown.
    pub limit: Option<u64>,
    pub kinds: BTreeMap<String, u64>,
    /// There were more than were looked at: the kinds add up to less than `count`.
    pub truncated: bool,
}

/// Memory of the process's cgroup, in bytes; that of all processes in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cgroup {
    pub version: u8,
    pub path: String,
    /// Read from the target's own view (`/sys/fs/cgroup` in its root), because ours does not show it.
    pub inside: bool,
    pub usage: Option<u64>,
    /// The lowest limit of this cgroup and those above it.
    pub limit: Option<u64>,
    /// `memory.high`: beyond it the kernel slows the processes down.
    pub high: Option<u64>,
    pub anonymous: Option<u64>,
    /// Page cache, shared memory not included.
    pub file: Option<u64>,
    /// Of it what can be dropped first.
    pub inactive_file: Option<u64>,
    pub shared: Option<u64>,
    pub kernel: Option<u64>,
    pub swap: Option<u64>,
    /// Share of the last ten seconds, in percent, that some task waited for memory.
    pub pressure: Option<f64>,
    /// Times that the limit was hit.
    pub limit_hits: Option<u64>,
    pub oom_kills: Option<u64>,
}

/// What the allocator says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Malloc {
    /// `glibc`, `jemalloc`, … by what is in use.
    pub name: Option<String>,
    /// Why the arenas are unknown, where they are.
    pub unknown: Option<String>,
    pub arenas: Vec<Arena>,
    /// 64 MiB heaps of arenas.
    pub heaps: u64,
    /// Blocks with a mapping of their own.
    pub large_count: u64,
    pub large_bytes: u64,
}

/// One arena of glibc, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arena {
    pub main: bool,
    /// What it took from the kernel.
    pub system: u64,
    /// Freed by the program and kept: all bins and the top.
    pub free: u64,
    /// Of it the whole pages that are resident: what `malloc_trim` gives back.
    pub releasable: u64,
    pub free_blocks: u64,
    /// The lists changed while they were read, or were too long: it is at least this.
    pub partial: bool,
}

impl Malloc {
    pub fn free(&self) -> u64 {
        self.arenas.iter().map(|arena| arena.free).sum()
    }

    pub fn releasable(&self) -> u64 {
        self.arenas.iter().map(|arena| arena.releasable).sum()
    }

    pub fn is_partial(&self) -> bool {
        self.arenas.iter().any(|arena| arena.partial)
    }
}

/// What a HotSpot JVM says, in bytes and seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Jvm {
    pub version: Option<String>,
    /// Why its own description was not understood, where it was not.
    pub unsupported: Option<String>,
    /// `G1`, `Parallel`, `Serial`, `Z`, `Shenandoah`, `Epsilon`.
    pub collector: Option<String>,
    /// Flags that matter here, as the JVM has them now.
    pub flags: BTreeMap<String, u64>,
    /// Variables of the environment that change memory use.
    pub environment: BTreeMap<String, String>,
    pub heap: Heap,
    pub collections: Vec<Collections>,
    pub java_threads: Option<u64>,
    pub class_loaders: Option<u64>,
    pub classes: Option<u64>,
    pub direct: Option<Direct>,
    /// `file`, `memory`, or why there is none.
    pub perf_data: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heap {
    pub reserved: Option<u64>,
    pub max: Option<u64>,
    /// Now, with what no longer is reachable.
    pub used: Option<u64>,
    /// As of the last collection.
    pub generations: Vec<Generation>,
    /// Of the old generation, if the last collection was a full one.
    pub old_after_full: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub name: String,
    pub capacity: u64,
    pub max: u64,
    pub used: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Collections {
    pub name: String,
    pub count: u64,
    pub seconds: f64,
    /// It collects the whole heap.
    pub full: bool,
}

/// Direct buffers of `java.nio`, as `Bits` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Direct {
    pub count: u64,
    pub capacity: u64,
    pub reserved: u64,
    pub max: u64,
}
