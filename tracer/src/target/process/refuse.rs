//! Why a process can't be traced, as far as `/proc` tells.

use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use procfs::ProcError;
use procfs::process::{Stat, StatFlags, Status};

use super::into_io;
use crate::exit::{Refusal, TargetEnded};
use crate::target::{Pid, text, user};

pub(super) fn open_directory(pid: Pid) -> anyhow::Result<procfs::process::Process> {
    let number = i32::try_from(pid.0).map_err(|_| Refusal::NoSuchProcess(pid))?;
    procfs::process::Process::new(number).map_err(|error| match error {
        // With hidepid=2 the processes of others seem not to exist; a pidfd can be had for them all the same.
        ProcError::NotFound(_) if pidfd_open(pid).is_ok() => {
            not_ours(pid, "another user".to_owned()).into()
        }
        ProcError::NotFound(_) => Refusal::NoSuchProcess(pid).into(),
        ProcError::PermissionDenied(_) => not_ours(pid, "another user".to_owned()).into(),
        other => anyhow::Error::new(into_io(other)).context(format!("can't open /proc/{pid}")),
    })
}

/// Kernel threads, zombies, and processes whose main thread has left the others alone.
pub(super) fn untraceable(pid: Pid, stat: &Stat) -> anyhow::Result<()> {
    // Bits that the crate doesn't know must not hide the one that is looked for.
    if StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD) {
        return Err(Refusal::KernelThread {
            pid,
            comm: text::printable(stat.comm.as_bytes()),
        }
        .into());
    }
    match stat.state {
        'Z' if stat.num_threads > 1 => Err(Refusal::MainThreadEnded(pid).into()),
        'Z' | 'X' | 'x' => Err(TargetEnded::zombie(pid).into()),
        _ => Ok(()),
    }
}

/// Opening `maps` asks the kernel for the access that all later reads need.
pub(super) fn unreadable(
    pid: Pid,
    directory: &procfs::process::Process,
    status: &Status,
) -> anyhow::Result<()> {
    match directory.open_relative("maps") {
        Ok(_) => Ok(()),
        Err(ProcError::PermissionDenied(_)) => {
            Err(not_ours(pid, user::describe(status.euid)).into())
        }
        Err(other) => Err(proc_error(pid, "maps", other)),
    }
}

pub(super) fn thirty_two_bit(pid: Pid, directory: &procfs::process::Process) -> anyhow::Result<()> {
    // e_ident[EI_CLASS] of the ELF header: 1 is ELFCLASS32. An executable that can't be read is let pass.
    let mut ident = [0; 5];
    let read = directory
        .open_relative("exe")
        .map_err(into_io)
        .and_then(|mut exe| exe.read_exact(&mut ident));
    if read.is_ok() && ident == *b"\x7fELF\x01" {
        let exe = directory.exe().unwrap_or_default();
        let exe = text::printable(exe.as_os_str().as_bytes());
        return Err(Refusal::ThirtyTwoBit { pid, exe }.into());
    }
    Ok(())
}

fn not_ours(pid: Pid, owner: String) -> Refusal {
    let us = user::effective();
    let remedy = match us {
        0 => {
            "CAP_SYS_PTRACE is missing (see `offheap doctor`) or a security module forbids it: start offheap on the host"
        }
        _ => "run offheap as root, with sudo",
    };
    Refusal::NotOurs {
        pid,
        owner,
        us: user::describe(us),
        remedy: remedy.to_owned(),
    }
}

pub(super) fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes a pid and flags, no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.0, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it. It fits, as all descriptors do.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub(super) fn proc_error(pid: Pid, file: &str, error: ProcError) -> anyhow::Error {
    ended_or(pid, into_io(error), file)
}

/// A process that vanishes between two reads has ended; all else is an error of its own.
pub(super) fn ended_or(pid: Pid, error: io::Error, what: &str) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT) => TargetEnded::before_first_probe(pid).into(),
        _ => anyhow::Error::new(error).context(format!("process {pid}: {what}")),
    }
}
