//! CPU time and memory of this program itself.

use std::fs;

/// CPU time that this thread has used, in nanoseconds: what others do on the machine is not in it.
pub fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is one valid timespec, and the clock of the own thread always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Resident MiB now, and the most since the last [`forget_peak`].
pub fn resident_mib() -> (f64, f64) {
    resident_mib_of(std::process::id())
}

/// The same of another process.
pub fn resident_mib_of(pid: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: Option<f64> =
            value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    };
    (field("VmRSS"), field("VmHWM"))
}

/// Begins the peak of the resident memory anew (`5` in proc_pid_clear_refs(5)), and gives freed memory back to the kernel.
pub fn forget_peak() {
    // SAFETY: takes no pointer; memory that is in use is left alone.
    unsafe { libc::malloc_trim(0) };
    let _ = fs::write("/proc/self/clear_refs", "5");
}
