//! Being in time.

/// Above all that was not raised as well, and below what the system needs.
const NICE: libc::c_int = -10;

/// Puts this thread, and those that it starts from now on, before others that want the processor. What a stack means is
/// read of a target that goes on: where it replaces code all the time, a stack that waits for long can't be told any
/// more. What we need in all is little; `self.cpu_seconds` says how much it was.
///
/// The kernel may refuse it, and whoever started us may have given more.
pub fn raise() {
    // SAFETY: both take numbers alone; 0 is the calling thread.
    unsafe {
        if libc::getpriority(libc::PRIO_PROCESS, 0) > NICE {
            libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        }
    }
}

/// Gives this thread the usual priority again: what it does is not urgent.
pub fn usual() {
    // SAFETY: both take numbers alone; 0 is the calling thread. Nobody needs a right to be less urgent.
    unsafe {
        if libc::getpriority(libc::PRIO_PROCESS, 0) < 0 {
            libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        }
    }
}
