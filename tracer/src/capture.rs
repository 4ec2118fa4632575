//! `capture.json`, schema `offheap.capture/1`: what every report is made from.
//!
//! Plain data: nothing here or to the right of it touches the kernel or the target. Fields may be added, never renamed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod owners;
mod time;

pub use owners::{Owners, OwnersAt, Reconciliation};
pub use time::{Ages, Series, SiteSeries, Trend, TrendClass};

/// The value of [`Capture::schema`].
pub const SCHEMA: &str = "offheap.capture/1";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Capture {
    pub schema: String,
    pub tool: Tool,
    pub host: Host,
    pub target: Target,
    pub window: Window,
    pub settings: Settings,
    pub functions: Vec<Function>,
    /// The mapped files that frames name; none in a capture that was made before.
    #[serde(default)]
    pub modules: Vec<Module>,
    pub sites: Vec<Site>,
    /// Everything that is known to be missing, counted by reason.
    pub losses: BTreeMap<String, u64>,
    pub completeness: Completeness,
    pub memory: Memory,
    #[serde(rename = "self")]
    pub tracer: Tracer,
    /// What the reader has to know that no number says, one sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Readings over time; none in a capture that was made before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tool {
    pub version: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Release of the running kernel, as `uname -r`.
    pub kernel: String,
    pub arch: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    pub pid: u32,
    pub comm: String,
    pub cmdline: Vec<String>,
    /// None for a process that is not a HotSpot JVM.
    pub jvm: Option<Jvm>,
    /// The target ended during the window.
    pub ended: bool,
    /// Clock ticks from boot to the start of the process: with the pid it names a process of this boot. 0: not known.
    #[serde(default)]
    pub start_ticks: u64,
    /// The kernel's OOM killer was at work in its cgroup, and it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kill: Option<OomKill>,
}

/// By the cgroup's own events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKill {
    pub cgroup: String,
    /// Processes of the cgroup that were killed since the attach.
    pub kills: u64,
    /// The lowest limit of the cgroup and those above it, in bytes.
    pub limit: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Jvm {
    pub name: String,
    pub version: String,
    /// Why Java frames are missing, where the JVM's layout is not understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
}

/// The time that the capture covers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window {
    /// RFC 3339, UTC: the moment the first probe was live.
    pub start: String,
    /// RFC 3339, UTC.
    pub end: String,
    pub seconds: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    /// `zlib`, `mmap`, `malloc`, `pairs`.
    pub hooks: Vec<String>,
    /// Mean sampling interval of the malloc family in bytes; 0 is exact.
    pub sample_bytes: u64,
    /// Cap of the copied stack, in bytes.
    pub stack_bytes: u64,
    #[serde(default)]
    pub min_size: Option<u64>,
    #[serde(default)]
    pub max_size: Option<u64>,
    /// Only sites outstanding for longer than this are reported, in seconds.
    #[serde(default)]
    pub older_seconds: Option<f64>,
}

/// One attach point, and what it saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    /// `zlib`, `mmap` or `malloc`.
    #[serde(default)]
    pub group: String,
    /// For `pairs`: the name of the pair that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// As the target sees it.
    pub file: String,
    pub build_id: Option<String>,
    /// File offset of the attached instruction.
    pub offset: u64,
    /// The instruction there, disassembled.
    pub instruction: String,
    /// The kernel emulates the instruction; otherwise each hit is a dear single step.
    pub emulated: bool,
    /// Calls that reached the probe.
    pub seen: u64,
    /// Calls whose function failed (a null pointer, `MAP_FAILED`).
    pub failed: u64,
    /// Calls that led to a record.
    #[serde(default)]
    pub recorded: u64,
    /// Calls left out because sampling did not choose them.
    #[serde(default)]
    pub unsampled: u64,
    /// Calls left out on purpose: sizes not asked for, calls inside other counted calls, null pointers.
    #[serde(default)]
    pub filtered: u64,
    /// Calls that could not be recorded.
    #[serde(default)]
    pub lost: u64,
    /// Calls that had begun and not ended: seen = recorded + unsampled + filtered + failed + lost + in flight.
    #[serde(default)]
    pub in_flight: u64,
    /// Traps taken at returns; those at entries are `seen` and `counted`.
    #[serde(default)]
    pub returns: u64,
    /// Calls that reached the probe while they were only counted: in the preflight, and after the group was given up.
    #[serde(default)]
    pub counted: u64,
    /// Why there is no probe, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Seconds from the attach to this probe, for libraries mapped later; 0 for the first ones.
    #[serde(default)]
    pub attached_after_seconds: f64,
}

/// A mapped file that frames name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// As [`Frame::module`]: without its directory.
    pub name: String,
    /// As the target sees it; of several files with one name, one of them.
    pub path: String,
    /// Hexadecimal GNU build id; none where the file has none, or several files with one name have different ones.
    pub build_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteKind {
    Deflate,
    Inflate,
    Malloc,
    Mmap,
    /// Memory by who touched it first: sampled page faults.
    Fault,
    /// Objects that a pair of functions opens and closes; which, [`Site::pair`] says.
    Pair,
}

/// What a mapping serves, told by its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The allocator's own arenas and big blocks; what is in them is counted as malloc.
    Allocator,
    ThreadStack,
    /// libjvm's reserve and commit: Java heap, metaspace, code cache and the like.
    Jvm,
    Other,
}

/// All allocations of one kind with one stack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Site {
    pub kind: SiteKind,
    /// For `pair`: the name of the pair, which is what one object is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The numbers below are sampled or computed, not counted.
    pub estimated: bool,
    pub outstanding_bytes: u64,
    /// Open streams for `deflate` and `inflate`, blocks for `malloc`, regions for `mmap`, open objects for `pair`.
    pub outstanding_count: u64,
    /// Of these, what was recorded and not estimated from it: an estimate of few samples says little.
    #[serde(default)]
    pub recorded_bytes: u64,
    #[serde(default)]
    pub recorded_count: u64,
    pub allocated_bytes: u64,
    pub allocated_count: u64,
    /// Age of the oldest and newest outstanding allocation.
    pub oldest_seconds: f64,
    pub newest_seconds: f64,
    /// How many were ended by `Common-Cleaner`, `Finalizer` or, for `pair`, a library's own cleaner, and not by the program.
    pub freed_by_cleaner: u64,
    /// Outstanding bytes gained since the snapshot before; none in a first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_bytes: Option<i64>,
    /// How many were freed by any thread.
    #[serde(default)]
    pub freed_count: u64,
    /// For `mmap`: what the mapping serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// For `mmap`: outstanding bytes that are only reserved (no access), not part of `outstanding_bytes`.
    #[serde(default)]
    pub reserved_bytes: u64,
    /// For streams and pairs: malloc blocks that they hold; 0 where it is not known.
    #[serde(default)]
    pub blocks: u64,
    /// The thread, where sites are split by thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// `root`, `truncated`, `no-unwind-info`, `lost` …
    pub stack_end: String,
    /// What it held at each of the capture's readings; none for sites that are not among the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SiteSeries>,
    /// What that series says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
    /// How long its allocations have lived; none where that was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ages: Option<Ages>,
    /// Leaf first. Sites share what they have in common, which is most of it.
    pub frames: Vec<Arc<Frame>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameKind {
    Native,
    C1,
    C2,
    Interpreted,
    Inlined,
    Stub,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// `org.eclipse.jetty.server.Server.handle`, a demangled native symbol, or `[why it is unknown]`.
    pub name: String,
    pub kind: FrameKind,
    /// File name of the mapped library, without its directory; none for Java and stubs.
    pub module: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Why a frame of kind `unknown` is unknown.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Completeness {
    /// Stacks taken in the window, and those that reached the thread's root.
    pub stacks: u64,
    pub complete: u64,
    pub symbolized_frames: u64,
    pub frames: u64,
    /// Incomplete stacks by where they ended.
    #[serde(default)]
    pub ends: BTreeMap<String, u64>,
    /// The places where the most of them ended, for each kind of end; the most frequent first.
    #[serde(default)]
    pub ended_at: Vec<EndPlace>,
    /// Walks compared with what the JVM itself says; none where there is no JVM, or nothing could be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Anchors>,
}

/// A place where walks ended before the thread's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndPlace {
    /// As in [`Completeness::ends`].
    pub end: String,
    #[serde(flatten)]
    pub place: Place,
    pub count: u64,
}

/// One address of code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As a frame is called.
    pub name: String,
    /// The mapped file; none for Java and for code without a file.
    pub module: Option<String>,
    /// In the file as it states its addresses (what `addr2line` takes), or, without a file, in the process.
    pub address: Option<u64>,
}

/// The JVM notes the stack pointer of a thread's last Java frame when the thread leaves Java code. The walks of its
/// threads are compared with that: checked = agreed + unknown + violated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchors {
    pub checked: u64,
    /// The last Java frame is the one that the walk came to from native code.
    pub agreed: u64,
    /// Nothing was noted (leaf calls of the JVM's runtime), or the note was read too late: nothing can be said.
    pub unknown: u64,
    /// The last Java frame is one that the walk did not see, or saw elsewhere.
    pub violated: u64,
    /// The native code that walks left in a wrong way, by these violations.
    #[serde(default)]
    pub violations: Vec<Violation>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    #[serde(flatten)]
    pub place: Place,
    pub count: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Resident bytes of the target.
    pub rss_start: u64,
    pub rss_end: u64,
    /// Sum over all sites, each byte once: malloc, and mmap without the allocator's own and without reservations.
    pub outstanding_bytes: u64,
    /// Whose the resident memory is; none in a view in between, and in a capture that was made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners: Option<Owners>,
    /// How what is tracked accounts for the change; none where one of the looks is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciliation: Option<Reconciliation>,
}

/// What tracing cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tracer {
    pub cpu_seconds: f64,
    /// Peak resident bytes of the tracer.
    pub max_rss: u64,
    /// Traps taken by the target.
    pub probe_hits: u64,
    /// Measured on this machine at start, in nanoseconds.
    #[serde(default)]
    pub trap_ns: Option<TrapCost>,
    #[serde(default)]
    pub budget: Budget,
    /// Highest fill of each map and ring, and of the records that were taken out of the ring so that it does not overflow
    /// (`BACKLOG`): `{"LIVE": {"used", "capacity"}}`.
    #[serde(default)]
    pub high_water: BTreeMap<String, Fill>,
    /// Milliseconds from the start to the first and the last of the first probes live.
    #[serde(default)]
    pub first_probe_ms: f64,
    #[serde(default)]
    pub all_probes_ms: f64,
    /// Milliseconds that detaching took; none in a capture that was made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detach_ms: Option<f64>,
}

/// What tracing was allowed to cost the target, and what was given up for that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Budget {
    /// Of the CPU time that the target uses by itself, of one CPU at least; none where there was no limit.
    pub percent: Option<f64>,
    /// The highest cost of any quarter of a second, in the same unit.
    pub peak_percent: f64,
    /// CPU seconds that the programs ran in the target's threads, beside the traps.
    pub program_seconds: f64,
    /// What was recorded, and when.
    pub watched: Vec<Watched>,
    pub steps: Vec<BudgetStep>,
}

/// The time in which the calls of a group were recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watched {
    /// `zlib`, `mmap` or `malloc`.
    pub group: String,
    /// Seconds after the attach.
    pub from_seconds: f64,
    /// None: to the end.
    pub until_seconds: Option<f64>,
}

/// Something that was done to stay within the budget.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BudgetStep {
    /// Seconds after the attach.
    pub at_seconds: f64,
    pub what: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct TrapCost {
    pub emulated: f64,
    pub single_step: f64,
    /// What the trap at a call's return adds to the one at its entry.
    #[serde(default)]
    pub at_return: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Fill {
    pub used: u64,
    pub capacity: u64,
}
