//! Links hold probes in place. Which kind is in use is decided here, and here they are closed.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::Builder;

use aya::programs::perf_event::PerfEventLink;
use aya::programs::uprobe::UProbeLink;

use super::sys::{self, Mode, Place};

/// The kinds of link that the kernel has for uprobes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// As `Multi`, with entry and return of a function in one program, and no trap at returns that nobody needs. Needs
    /// Linux 6.13.
    Session,
    /// One link for all places that a program has in a file. Needs Linux 6.10, or 6.6 with its fixes.
    Multi,
    /// One perf event and one link for each place. Closing many takes seconds: the kernel closes one after the other.
    Perf,
}

impl LinkKind {
    /// The better kind that this kernel has. Takes less than a millisecond.
    pub fn best() -> LinkKind {
        if matches!(sessions_work(), Ok(true)) {
            LinkKind::Session
        } else if matches!(multi_works(), Ok(true)) {
            LinkKind::Multi
        } else {
            LinkKind::Perf
        }
    }

    /// How many places go into one link.
    pub(super) fn places(self) -> usize {
        match self {
            LinkKind::Session | LinkKind::Multi => MOST_PLACES,
            LinkKind::Perf => 1,
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkKind::Session => "uprobe_session",
            LinkKind::Multi => "uprobe_multi",
            LinkKind::Perf => "perf_event",
        })
    }
}

/// The kernel's own limit is 2^20.
const MOST_PLACES: usize = 1 << 16;

/// Does the kernel have multi-uprobes that can be restricted to a process?
///
/// Linux 6.6 to 6.9 took the pid for a thread's. The fix, "bpf: fix multi-uprobe PID filtering logic" in Linux 6.10 and
/// the stable releases before it, came with one that refuses negative pids at once, while a directory is refused only
/// after that: what the kernel says about a directory and pid -1 tells whether it has the fixes. Nothing is attached.
///
/// # Errors
///
/// Without the privileges to load a program there is no answer.
pub fn multi_works() -> io::Result<bool> {
    works(Mode::Entry)
}

/// Does the kernel have sessions? Linux 6.13 and later do; asked in the same way.
///
/// # Errors
///
/// Without the privileges to load a program there is no answer.
pub fn sessions_work() -> io::Result<bool> {
    works(Mode::Session)
}

fn works(mode: Mode) -> io::Result<bool> {
    let probe = sys::load_program(
        &sys::Program {
            name: "probe",
            mode,
            license: c"GPL",
            instructions: &sys::EMPTY,
            lines: None,
        },
        &mut [],
    );
    let probe = match probe {
        // Kernels that do not know the attach type, or programs of this type.
        Err(error) if is(&error, libc::EINVAL) || is(&error, libc::E2BIG) => return Ok(false),
        other => other?,
    };
    let refused = |path: &CStr, pid, number| {
        let place = Place {
            offset: 0,
            cookie: 0,
        };
        let link = sys::link_uprobes(probe.as_fd(), mode, path, &[place], pid);
        link.is_err_and(|error| is(&error, number))
    };
    Ok(refused(c"/", 0, libc::EBADF) && refused(c"/", -1, libc::EINVAL))
}

fn is(error: &io::Error, number: i32) -> bool {
    error.raw_os_error() == Some(number)
}

/// Something attached, until it is dropped. That takes a grace period of the kernel, some ten to hundred milliseconds.
pub enum Link {
    Multi(#[expect(dead_code, reason = "held to be closed")] OwnedFd),
    Perf(#[expect(dead_code, reason = "held to be closed")] UProbeLink),
    Fault(#[expect(dead_code, reason = "held to be closed")] PerfEventLink),
}

/// Threads that close links. They wait in the kernel, for a grace period that the links closed meanwhile share.
const CLOSERS: usize = 64;

/// Closes all links; when it returns, the target no longer takes a trap.
pub fn close(links: Vec<Link>) {
    let mut shares: Vec<Vec<Link>> = (0..CLOSERS.min(links.len())).map(|_| Vec::new()).collect();
    for (index, link) in links.into_iter().enumerate() {
        shares[index % CLOSERS].push(link);
    }
    std::thread::scope(|scope| {
        for share in shares {
            // Where no thread can be had, the share is dropped, and its links closed, by this one.
            let _ = Builder::new().spawn_scoped(scope, move || drop(share));
        }
    });
}
