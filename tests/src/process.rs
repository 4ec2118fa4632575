//! Child processes: waiting with a deadline, signalling by pid, and mounts of their own.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// Waits until `child` has ended, at most `limit`. None when it still runs.
pub fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let ends = pidfd(child.id())?;
    let mut poll = libc::pollfd {
        fd: ends.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, and its length.
    if unsafe { libc::poll(&mut poll, 1, millis) } < 0 {
        return Err(io::Error::last_os_error());
    }
    child.try_wait()
}

fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers; the child has not been waited for, so that the pid is still its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends `signal` to a child that has not been waited for.
pub fn signal(child: &Child, signal: i32) {
    // SAFETY: takes two integers.
    let sent = unsafe { libc::kill(child.id() as i32, signal) };
    assert_eq!(
        sent,
        0,
        "can't signal pid {}: {}",
        child.id(),
        io::Error::last_os_error()
    );
}

/// Kills by pid and reaps; for `Drop`, so nothing is reported.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A shell in a mount namespace of its own that runs `script`; what the caller adds are its `$1`, `$2` and so on.
pub fn in_own_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let words = [
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        script,
        "sh",
    ];
    command.args(words);
    command
}

/// The one child of `pid`.
///
/// # Panics
/// It has none, or several.
pub fn only_child(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .expect("proc of an own child");
    children
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("one child of {pid}, not {children:?}"))
}
