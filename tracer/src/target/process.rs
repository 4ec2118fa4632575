//! The process behind a pid, held so that the pid can't come to mean another one.

mod refuse;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use procfs::ProcError;
use tokio::io::{Interest, unix::AsyncFd};

use super::container::{self, Container};
use super::namespaces::Namespaces;
use super::{Pid, Tid, text};
use crate::exit::Refusal;

/// Most that is read of a command line. Class paths of a few hundred kilobytes are seen in practice.
const CMDLINE_BYTES: u64 = 1 << 20;

/// A live process that can be read and traced.
///
/// Its `/proc` directory and a pidfd are held open: reads fail once the process is gone, also when the pid is reused.
#[derive(Debug)]
pub struct Process {
    pub pid: Pid,
    /// The kernel's short name, fit for printing.
    pub comm: String,
    /// As the process presents it (it may have rewritten it): for display, through [`text::printable`].
    pub cmdline: Vec<String>,
    /// As the target sees it. None when it can't be read.
    pub exe: Option<PathBuf>,
    /// Effective user id, as this host numbers users.
    pub uid: u32,
    /// Clock ticks from boot to the start of the process; with the pid it names a process for ever.
    pub start_ticks: u64,
    pub namespaces: Namespaces,
    pub container: Option<Container>,
    directory: procfs::process::Process,
    pidfd: OwnedFd,
}

impl Process {
    /// Opens a process that can be traced as far as `/proc` tells.
    ///
    /// # Errors
    /// A [`Refusal`] or [`TargetEnded`](crate::exit::TargetEnded) (for [`anyhow::Error::downcast_ref`]), or an error of `/proc` itself.
    pub fn open(pid: Pid) -> anyhow::Result<Process> {
        let directory = refuse::open_directory(pid)?;
        let status = directory
            .status()
            .map_err(|e| refuse::proc_error(pid, "status", e))?;
        if status.tgid != status.pid {
            return Err(Refusal::IsThread {
                tid: Tid(pid.0),
                pid: Pid(status.tgid.unsigned_abs()),
            }
            .into());
        }
        // The directory is bound to one process. As it could still be read after the pidfd was made, both are the same.
        let pidfd = refuse::pidfd_open(pid).map_err(|e| refuse::ended_or(pid, e, "pidfd_open"))?;
        let stat = directory
            .stat()
            .map_err(|e| refuse::proc_error(pid, "stat", e))?;
        refuse::untraceable(pid, &stat)?;
        refuse::unreadable(pid, &directory, &status)?;
        refuse::thirty_two_bit(pid, &directory)?;
        Ok(Process {
            pid,
            comm: text::printable(stat.comm.as_bytes()),
            cmdline: read_cmdline(&directory).map_err(|e| refuse::ended_or(pid, e, "cmdline"))?,
            exe: directory.exe().ok(),
            uid: status.euid,
            start_ticks: stat.starttime,
            namespaces: Namespaces::of(pid, &status),
            container: container::of(&directory),
            directory,
            pidfd,
        })
    }

    /// Whether the process has ended (also when its parent has not noticed yet).
    pub fn ended(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.pidfd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `poll` is one valid pollfd, and the timeout of 0 makes the call return at once.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) };
        ready > 0 && poll.revents & libc::POLLIN != 0
    }

    /// Returns when the process has ended.
    ///
    /// # Errors
    /// When the runtime can't wait for file descriptors.
    pub async fn wait_for_end(&self) -> io::Result<()> {
        let pidfd = self.pidfd.try_clone()?;
        // SAFETY: the descriptor is owned by the registration, so that it stays open and the same until it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
            .map_err(io::Error::from)?;
        registered.readable().await.map(|_| ())
    }

    /// Resident bytes, from `statm`: `smaps_rollup` walks all page tables under the target's mmap lock, which takes
    /// a second and more on a large JVM.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn rss(&self) -> io::Result<u64> {
        rss(&self.directory)
    }

    /// The threads, as this host numbers them.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn threads(&self) -> io::Result<Vec<Tid>> {
        let mut tids = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            tids.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok())
                    .map(Tid),
            );
        }
        // Still alive after the listing by number: it was the listing of this process.
        if self.ended() {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        } else {
            Ok(tids)
        }
    }

    /// The id that a thread has inside the target's own pid namespace.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn ns_tid(&self, tid: Tid) -> io::Result<Tid> {
        let status = self.read(format!("task/{tid}/status"), 64 << 10)?;
        innermost_id(&status)
            .map(Tid)
            .ok_or_else(|| io::Error::other("status has no NSpid"))
    }

    /// The kernel's short name of a thread, fit for printing; for Java threads the first 15 bytes of the thread's name.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn thread_comm(&self, tid: Tid) -> io::Result<String> {
        Ok(text::printable(
            self.read(format!("task/{tid}/comm"), 64)?
                .trim_end_matches('\n')
                .as_bytes(),
        ))
    }

    /// Opens a file of the process's `/proc` directory for reading; fails once the process is gone.
    ///
    /// # Errors
    /// Of the kernel: `ESRCH` or `ENOENT` after the end, `EACCES` without privileges.
    pub fn open_file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        self.directory.open_relative(name).map_err(into_io)
    }

    /// The process's `/proc` directory.
    pub fn directory(&self) -> &procfs::process::Process {
        &self.directory
    }

    fn read(&self, name: impl AsRef<Path>, most: u64) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.open_file(name)?.take(most).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The pidfd: readable when the process has ended.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Resident bytes of a process; see [`Process::rss`].
///
/// # Errors
/// When the process has ended.
pub fn rss(directory: &procfs::process::Process) -> io::Result<u64> {
    let statm = directory.statm().map_err(into_io)?;
    Ok(statm.resident.saturating_mul(procfs::page_size()))
}

/// The command line, bounded; empty for kernel threads and processes that have overwritten it.
///
/// # Errors
/// When the process has ended.
pub fn read_cmdline(directory: &procfs::process::Process) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    directory
        .open_relative("cmdline")
        .map_err(into_io)?
        .take(CMDLINE_BYTES)
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let trimmed = text.trim_end_matches('\0');
    Ok(if trimmed.is_empty() {
        Vec::new()
    } else {
        trimmed.split('\0').map(str::to_owned).collect()
    })
}

/// The last number of the line `NSpid:`, which lists the ids from our pid namespace inwards.
fn innermost_id(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// The crate's error as the kernel's, as far as it kept it.
pub fn into_io(error: ProcError) -> io::Error {
    match error {
        ProcError::PermissionDenied(_) => io::Error::from_raw_os_error(libc::EACCES),
        ProcError::NotFound(_) => io::Error::from_raw_os_error(libc::ENOENT),
        ProcError::Io(error, _) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
