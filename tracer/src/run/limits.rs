//! Limits of our own process that would get in the way.

/// Raises the limit on open files as far as it goes: every library of the target is held open. A file-size limit becomes
/// an error of the write instead of the end of the tracer.
pub fn prepare() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is one valid rlimit; both calls only read or write it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            // Where it can't be raised, opening a file fails later, and says so.
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
    // SAFETY: SIG_IGN is a valid disposition for SIGXFSZ.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
