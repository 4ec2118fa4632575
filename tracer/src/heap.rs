//! Our own heap.

/// Gives freed memory back to the kernel: what was needed once and is big, which glibc would keep for the next. Takes a
/// millisecond or so.
pub fn give_back() {
    // SAFETY: takes a number, and locks what it changes.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
