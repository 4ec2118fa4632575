//! How long programs run, by the kernel's own statistics.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya_obj::generated::{bpf_cmd, bpf_prog_info};

/// `BPF_STATS_RUN_TIME` (include/uapi/linux/bpf.h).
const RUN_TIME: u32 = 0;

/// Keeps the statistics switched on, for all programs of the machine: each run reads the clock twice more.
pub struct Statistics(#[expect(dead_code, reason = "held to stay switched on")] OwnedFd);

impl Statistics {
    /// # Errors
    /// Linux before 5.8, or no CAP_SYS_ADMIN.
    pub fn on() -> io::Result<Statistics> {
        #[repr(C)]
        struct Attributes {
            kind: u32,
        }
        let mut attributes = Attributes { kind: RUN_TIME };
        // SAFETY: the command reads these four bytes and nothing else.
        let result = unsafe { bpf(bpf_cmd::BPF_ENABLE_STATS, &mut attributes) }?;
        // SAFETY: the command has made this descriptor (close-on-exec) for us alone.
        Ok(Statistics(unsafe { OwnedFd::from_raw_fd(result) }))
    }
}

/// How long a program ran while the statistics were on; Linux 5.1 and later.
pub fn nanoseconds(program: BorrowedFd<'_>) -> io::Result<u64> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        length: u32,
        info: u64,
    }
    // SAFETY: a struct of integers, for which zero is a value.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        length: size_of::<bpf_prog_info>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: `info` has room for `length` bytes, and asks for none of the arrays that it could point to.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    Ok(info.run_time_ns)
}

/// # Safety
///
/// What `attributes` is and points to must be as `command` wants it, and live.
unsafe fn bpf<T>(command: bpf_cmd, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the caller vouches for `attributes`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            attributes as *mut T,
            size_of::<T>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|&result| result >= 0)
        .ok_or_else(io::Error::last_os_error)
}
