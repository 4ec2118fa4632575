//! Calls that were entered and have not returned, one per thread.

use crate::live::LiveBlock;

/// An allocating call between its entry and its return; the key is the thread.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Allocating {
    /// Stack pointer at the function's entry.
    pub sp: u64,
    /// Return address at the entry, before the kernel replaced it.
    pub return_address: u64,
    /// Requested bytes; `u64::MAX` where count × size overflows.
    pub size: u64,
    /// Address to read the result from (`posix_memalign`), or 0.
    pub out: u64,
    /// The old block of a realloc, or 0.
    pub old_address: u64,
    /// What was tracked of the old block; its time is 0 where nothing was.
    pub old: LiveBlock,
    pub point: u32,
    /// 1 when the call is only remembered so that calls inside it are not counted.
    pub skip: u16,
    /// Which of the run's sampling intervals chose it.
    pub level: u16,
}

const _: () = assert!(size_of::<Allocating>() == 72);

/// A mapping call, or a stream opened through a function that returns its key.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Mapping {
    pub sp: u64,
    pub return_address: u64,
    /// `mmap`: length, protection, flags, file descriptor. `mremap`: old address, old length, new length, flags.
    pub arguments: [u64; 4],
    pub point: u32,
    pub _pad: u32,
}

const _: () = assert!(size_of::<Mapping>() == 56);

/// Names a call of a pair's function that was entered and has not returned: two such calls of one thread have different
/// places on its stack, or are of different functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct OpeningKey {
    /// Stack pointer at the function's entry.
    pub sp: u64,
    pub tid: u32,
    pub point: u32,
}

const _: () = assert!(size_of::<OpeningKey>() == 16);

/// A call that opens an object of a pair.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Opening {
    /// When it was entered, in nanoseconds of the monotonic clock.
    pub began: u64,
    /// The argument that names the object, or says where its name will be; 0 where the result does.
    pub argument: u64,
}

const _: () = assert!(size_of::<Opening>() == 16);

/// How far below an outer call's frame a call may be and still count as made by it. Allocators nest within a few
/// hundred bytes; an entry left behind by a thread that jumped out of a call is far away or elsewhere.
pub const NESTING_REACH: u64 = 8192;

/// Is a call at `sp` made from inside the call remembered with `outer_sp`?
///
/// `word` is what now stands at `outer_sp`. While the outer call is active that is the kernel's trampoline; an outer
/// call that a `longjmp` has left behind no longer has it. A tail call has the same stack pointer as its caller.
#[inline(always)]
pub fn is_nested(outer_sp: u64, outer_return: u64, word: u64, trampoline: u64, sp: u64) -> bool {
    if sp > outer_sp || outer_sp - sp > NESTING_REACH {
        return false;
    }
    if trampoline != 0 {
        word == trampoline
    } else {
        word != outer_return
    }
}

/// Is a stream-opening call at `sp` made by the opening call that was recorded at `outer_sp` on the same thread for the
/// same stream (`deflateInit_` calls `deflateInit2_`)?
#[inline(always)]
pub fn is_same_opening(outer_sp: u64, outer_point: u32, sp: u64, point: u32) -> bool {
    outer_point != point && sp <= outer_sp && outer_sp - sp <= 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAMPOLINE: u64 = 0x7fff_ffff_e000;

    /// A call within reach of an active outer call is nested, also when it is a tail call.
    #[test]
    fn inner_calls_are_nested() {
        assert!(is_nested(0x9000, 0x40, TRAMPOLINE, TRAMPOLINE, 0x8f00));
        assert!(is_nested(0x9000, 0x40, TRAMPOLINE, TRAMPOLINE, 0x9000));
        assert!(is_nested(0x9000, 0x40, TRAMPOLINE, 0, 0x8f00));
    }

    /// An entry left by a call that never returned does not shadow the calls that follow.
    #[test]
    fn abandoned_calls_do_not_shadow() {
        assert!(
            !is_nested(0x9000, 0x40, 0x40, TRAMPOLINE, 0x8f00),
            "the frame is no longer active"
        );
        assert!(
            !is_nested(0x9000, 0x40, 0x40, 0, 0x9000),
            "called again from the same place"
        );
        assert!(
            !is_nested(0x9000, 0x40, TRAMPOLINE, TRAMPOLINE, 0x9008),
            "nearer to the root"
        );
        assert!(
            !is_nested(0x90000, 0x40, TRAMPOLINE, TRAMPOLINE, 0x8000),
            "out of reach"
        );
    }

    /// The inner half of an opening is told apart from a second opening at the same place.
    #[test]
    fn openings_nest_across_functions_only() {
        assert!(is_same_opening(0x9000, 1, 0x8fc0, 2));
        assert!(!is_same_opening(0x9000, 1, 0x9000, 1));
        assert!(!is_same_opening(0x9000, 1, 0x9100, 2));
    }
}
