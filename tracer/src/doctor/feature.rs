//! Asks the kernel by trying: bpf(2) and perf_event_open(2), without a library, so that nothing stands between the
//! refusal and its reason. What is made is closed at once.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::{fs, io};

/// How a trial ended; the error is the kernel's.
pub type Tried = Result<(), Errno>;

/// An `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

// Numbers of include/uapi/linux/bpf.h and perf_event.h.
const BPF_MAP_CREATE: u32 = 0;
const BPF_PROG_LOAD: u32 = 5;
const BPF_LINK_CREATE: u32 = 28;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_PERF_EVENT: u32 = 41;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// call bpf_get_attach_cookie (helper 174, Linux 5.15); exit. The context is in r1 and the result in r0 already.
const COOKIE_PROGRAM: [u8; 16] = [0x85, 0, 0, 0, 174, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
/// Some helpers are given to programs under the GPL only.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";

/// `union bpf_attr`, as large as these calls need it; the kernel takes any size whose unknown part is zero.
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Attr {
    fn new() -> Attr {
        Attr([0; 128])
    }

    fn u32(mut self, offset: usize, value: u32) -> Attr {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, offset: usize, value: u64) -> Attr {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }
}

/// Can a ring buffer be made?
pub fn ring_buffer() -> Tried {
    let size = u32::try_from(procfs::page_size()).unwrap_or(4096);
    bpf(
        BPF_MAP_CREATE,
        &Attr::new().u32(0, BPF_MAP_TYPE_RINGBUF).u32(12, size),
    )
    .map(drop)
}

/// Is there bpf_get_attach_cookie, by which one program serves all functions?
pub fn attach_cookie() -> Tried {
    load_cookie_program().map(drop)
}

fn load_cookie_program() -> Result<OwnedFd, Errno> {
    let instructions = (COOKIE_PROGRAM.len() / 8) as u32;
    let attr = Attr::new()
        .u32(0, BPF_PROG_TYPE_KPROBE)
        .u32(4, instructions)
        .u64(8, COOKIE_PROGRAM.as_ptr() as u64)
        .u64(16, LICENSE.as_ptr() as u64);
    bpf(BPF_PROG_LOAD, &attr)
}

/// A step of [`uprobe`] that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    pub call: &'static str,
    pub errno: Errno,
}

/// Attaches a program with a cookie to a function of this very process, as tracing does to the target's. Detaching
/// takes a grace period of the kernel, some tens of milliseconds.
///
/// # Errors
/// The first call that failed.
pub fn uprobe(pmu: u32) -> Result<(), Failed> {
    let failed = |call| move |errno| Failed { call, errno };
    let offset = offset_in_file(probed_function as *const () as u64)
        .map_err(failed("finding our own code"))?;
    let program = load_cookie_program().map_err(failed("loading a program"))?;
    let event = open_uprobe(pmu, offset).map_err(failed("perf_event_open"))?;
    let attr = Attr::new()
        .u32(0, program.as_raw_fd().unsigned_abs())
        .u32(4, event.as_raw_fd().unsigned_abs())
        .u32(8, BPF_PERF_EVENT)
        .u64(16, 1);
    bpf(BPF_LINK_CREATE, &attr)
        .map(drop)
        .map_err(failed("linking program and probe"))
}

/// Never called: only its address is needed.
#[inline(never)]
extern "C" fn probed_function() {
    std::hint::black_box(());
}

/// The offset in our own executable file of an address in it.
fn offset_in_file(address: u64) -> Result<u64, Errno> {
    let maps = fs::read_to_string("/proc/self/maps")
        .map_err(|e| Errno(e.raw_os_error().unwrap_or(libc::EIO)))?;
    let offset = maps.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        let (start, end) = columns.next()?.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let file_offset = u64::from_str_radix(columns.nth(1)?, 16).ok()?;
        (start..end)
            .contains(&address)
            .then(|| address - start + file_offset)
    });
    offset.ok_or(Errno(libc::ENOENT))
}

/// A uprobe in our executable, for this process only.
fn open_uprobe(pmu: u32, offset: u64) -> Result<OwnedFd, Errno> {
    const PATH: &[u8] = b"/proc/self/exe\0";
    const PERF_ATTR_SIZE_VER5: u32 = 112;
    // struct perf_event_attr: type, size; config1 is the path, config2 the offset for this PMU.
    let attr = Attr::new()
        .u32(0, pmu)
        .u32(4, PERF_ATTR_SIZE_VER5)
        .u64(56, PATH.as_ptr() as u64)
        .u64(64, offset);
    // SAFETY: `attr` is larger than the size that it declares, and its path pointer is to a terminated static string.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attr.0.as_ptr(),
            0,
            -1,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    descriptor(fd)
}

fn bpf(command: u32, attr: &Attr) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads `attr` within the size passed; the pointers in it are to static bytes.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.0.as_ptr(), attr.0.len()) };
    descriptor(fd)
}

/// The descriptor that a system call has just made.
fn descriptor(returned: libc::c_long) -> Result<OwnedFd, Errno> {
    if returned < 0 {
        return Err(Errno(
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        ));
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it. It fits, as all descriptors do.
    Ok(unsafe { OwnedFd::from_raw_fd(returned as i32) })
}
