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

/// Has this thread run as soon as it is woken, before others of its priority: it asks for little at a time, and so is due
/// early (`sched_runtime` of `SCHED_OTHER`, Linux 6.12). The ring's thread does that: what it copies fits into some
/// milliseconds of a busy target. Older kernels take no notice.
pub fn hurry() {
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        nice: NICE,
        runtime: SHORTEST,
        ..Attributes::default()
    };
    // SAFETY: the kernel reads `size` bytes of a struct that is laid out as it says (sched_setattr(2)).
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// The shortest that the kernel takes, in nanoseconds.
const SHORTEST: u64 = 100_000;

/// `struct sched_attr` in its first version (sched_setattr(2)).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}
