//! What became of a call. Each call is counted as seen, and then under exactly one of the ways out, so that per attach
//! point: seen = recorded + unsampled + filtered + failed + lost + calls in flight.

/// Index of a counter within the counters of an attach point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Outcome {
    /// The probe fired in the target.
    Seen = 0,
    /// A block, region or stream was entered into, or removed from, the outstanding ones.
    Recorded,
    /// Sampling did not choose the allocation, or the freed block was not tracked (unsampled, or older than the attach).
    Unsampled,
    /// The size is outside of the limits that the user set.
    OutOfRange,
    /// The call happened inside another hooked call that counts for both.
    Nested,
    /// A null pointer was freed.
    Null,
    /// The function reported failure.
    Failed,
    /// No room to remember the call until its return.
    InFlightFull,
    /// The call never returned: its thread died or jumped out of it.
    Abandoned,
    /// Not a way out: a recorded allocation whose stack found the ring full.
    StackLost,
    /// Not a way out: an allocation that the kernel's map had no room for and that userspace keeps.
    Spilled,
    /// An allocation or a free that neither the map nor the ring had room for: outstanding numbers are off by it.
    Untracked,
    /// Not a way out: a tracked free whose lifetime found the ring full.
    LifetimeLost,
    /// Not seen: the probe fired while calls were only counted.
    Counted,
    /// A reference to an object of a pair was taken, or given back while there were others.
    Referenced,
}

/// Counters per attach point.
pub const OUTCOMES: u32 = 16;

const _: () = assert!((Outcome::Referenced as u32) < OUTCOMES);

/// Position of a counter in the counter map.
#[inline(always)]
pub const fn counter(point: u32, outcome: Outcome) -> u32 {
    point * OUTCOMES + outcome as u32
}
