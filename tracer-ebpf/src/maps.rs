//! The maps. Capacities are set by userspace when it loads the programs; the ones here are the least that works.

use core::arch::asm;

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use tracer_common::config::{Config, Control, KernelOffsets, MAX_PAIRS, MAX_POINTS, Sampling};
use tracer_common::inflight::{Allocating, Mapping, Opening, OpeningKey};
use tracer_common::live::{LiveBlock, LiveObject, LiveStream, ObjectKey};
use tracer_common::outcome::{OUTCOMES, Outcome, counter};

/// Read-only; userspace writes it before the programs are loaded, so that the verifier drops what is switched off.
#[unsafe(no_mangle)]
static CONFIG: Global<Config> = Global::new(Config {
    tgid: 0,
    stack_pages: 16,
    wakeup_bytes: 0,
    block_bytes: 0,
    offsets: KernelOffsets {
        thread_pointer: 0,
        utask: 0,
        return_instances: 0,
        slot: 0,
        return_address: 0,
        next: 0,
    },
    min_size: 0,
    max_size: 0,
});

/// Outstanding blocks by address. Full: the block goes to userspace in its event (`FLAG_SPILLED`).
#[map]
static LIVE: HashMap<u64, LiveBlock> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Open streams by the address of their `z_stream`. Full: as `LIVE`.
#[map]
static STREAMS: HashMap<u64, LiveStream> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Allocating calls that have not returned, by thread. Full: the call is counted as lost.
#[map]
static ALLOCATING: HashMap<u32, Allocating> = HashMap::with_max_entries(1024, 0);

/// Mapping calls that have not returned, by thread. Full: as above.
#[map]
static MAPPING: HashMap<u32, Mapping> = HashMap::with_max_entries(1024, 0);

/// Stream-opening calls that have not returned, by thread, for functions that return the stream. Full: as above.
#[map]
static OPENING: HashMap<u32, Mapping> = HashMap::with_max_entries(1024, 0);

/// Open objects of pairs of functions. Full: as `LIVE`.
#[map]
static OBJECTS: HashMap<ObjectKey, LiveObject> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Calls that open such objects and have not returned. Full: the call is counted as lost.
#[map]
static CALLS: HashMap<OpeningKey, Opening> = HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Where the JVM notes the last Java frame of a thread, by thread. Full: userspace reads the note itself, later.
/// Made whole at once, since `page_fault` reads it: programs of perf events take no others before Linux 6.1.
#[map]
static ANCHORS: HashMap<u32, u64> = HashMap::with_max_entries(1024, 0);

/// What happened, by attach point and outcome.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(MAX_POINTS * OUTCOMES, 0);

/// Not 0 once an allocation found its map full: from then on unknown frees are sent to userspace, which keeps the
/// allocations that the map could not.
#[map]
static SPILLED: Array<u64> = Array::with_max_entries(1, 0);

/// Not 0 when userspace sleeps for long: the next record wakes it, and sets this to 0.
#[map]
static ASLEEP: Array<u64> = Array::with_max_entries(1, 0);

/// Pairs that were given up, by number: not 0. Their calls are only counted.
#[map]
static GIVEN_UP: Array<u64> = Array::with_max_entries(MAX_PAIRS, 0);

/// What became of page faults that were looked at, by outcome.
#[map]
static FAULTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(OUTCOMES, 0);

#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// Events for userspace. Full: the stack, or the lifetime, is counted as lost; outstanding bytes are not in here.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

#[inline(always)]
pub fn config() -> Config {
    CONFIG.load()
}

#[inline(always)]
pub fn live() -> &'static HashMap<u64, LiveBlock> {
    &LIVE
}

#[inline(always)]
pub fn streams() -> &'static HashMap<u64, LiveStream> {
    &STREAMS
}

#[inline(always)]
pub fn allocating() -> &'static HashMap<u32, Allocating> {
    &ALLOCATING
}

#[inline(always)]
pub fn mapping() -> &'static HashMap<u32, Mapping> {
    &MAPPING
}

#[inline(always)]
pub fn opening() -> &'static HashMap<u32, Mapping> {
    &OPENING
}

#[inline(always)]
pub fn objects() -> &'static HashMap<ObjectKey, LiveObject> {
    &OBJECTS
}

#[inline(always)]
pub fn calls() -> &'static HashMap<OpeningKey, Opening> {
    &CALLS
}

#[inline(always)]
pub fn anchors() -> &'static HashMap<u32, u64> {
    &ANCHORS
}

#[inline(always)]
pub fn events() -> &'static RingBuf {
    &EVENTS
}

/// Atomic even though the counter belongs to one CPU: another thread's probe can preempt this one between load and store.
#[inline(always)]
pub fn count(point: u32, outcome: Outcome) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter(point, outcome)) {
        add_one(value);
    }
}

#[inline(always)]
pub fn count_fault(outcome: Outcome) {
    if let Some(value) = FAULTS.get_ptr_mut(outcome as u32) {
        add_one(value);
    }
}

#[inline(always)]
fn add_one(value: *mut u64) {
    add(value, 1);
}

/// Atomic. The target's `core` has no fetch_add: it could not be built without compare-and-swap.
#[inline(always)]
pub fn add(value: *mut u64, change: i64) {
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) value, in(reg) change) };
}

#[inline(always)]
pub fn control() -> Control {
    CONTROL.get(0).copied().unwrap_or(Control {
        trampoline: 0,
        recording: 0,
        sampling: Sampling::new(0, 0),
    })
}

/// Whether userspace has to be woken for this record: it sleeps, and no record before has woken it.
#[inline(always)]
pub fn is_to_be_woken() -> bool {
    match ASLEEP.get_ptr_mut(0) {
        Some(asleep) if unsafe { *asleep } != 0 => {
            unsafe { *asleep = 0 };
            true
        }
        _ => false,
    }
}

#[inline(always)]
pub fn is_given_up(pair: u64) -> bool {
    GIVEN_UP
        .get(pair as u32)
        .is_some_and(|given_up| *given_up != 0)
}

/// From now on, frees of unknown blocks are sent to userspace.
#[inline(always)]
pub fn set_spilled() {
    if let Some(spilled) = SPILLED.get_ptr_mut(0) {
        unsafe { *spilled = 1 };
    }
}

#[inline(always)]
pub fn spilled() -> bool {
    SPILLED.get(0).is_some_and(|spilled| *spilled != 0)
}
