//! What the kernel's error numbers mean here, and what to do about them.

use std::error::Error;
use std::io;

use anyhow::anyhow;
use aya::EbpfError;
use aya::programs::ProgramError;

/// Lines of the verifier's log in a message; the last ones say what it did not like.
const LOG_LINES: usize = 40;
/// From this verbosity on the message has the whole log.
const VERBOSE: u8 = 1;

/// "os error" of `ENOTSUPP`, which the kernel gives away although it has no name in userspace.
const ENOTSUPP: i32 = 524;

// Tried out on Linux 6.18 with a target of another user; perf events of uprobes take no less than CAP_SYS_ADMIN there.
const PRIVILEGES: &str = "run as root, or with the capabilities CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, \
     CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH (before Linux 6.10: CAP_SYS_ADMIN); in a container its runtime must \
     grant them, and its seccomp profile must allow bpf(2) and perf_event_open(2); under kernel lockdown \
     `confidentiality` nothing helps";

/// The kernel did not take the maps.
pub fn maps(error: EbpfError) -> anyhow::Error {
    let remedy = match number(&error) {
        Some(libc::EPERM | libc::EACCES) => Some(format!(
            "{PRIVILEGES}; before Linux 5.11 also raise the limit of locked memory (`ulimit -l unlimited`)"
        )),
        Some(libc::ENOMEM | libc::E2BIG) => {
            Some("the maps are too big for this machine's free memory: choose smaller ones".into())
        }
        Some(libc::EINVAL) => Some("the ring buffer needs Linux 5.8 or later".into()),
        Some(libc::ENOSYS) => {
            Some("this kernel is built without bpf(2) (CONFIG_BPF_SYSCALL)".into())
        }
        _ => None,
    };
    let remedy = remedy.map(|text| format!(": {text}")).unwrap_or_default();
    anyhow!(
        "the kernel does not take the BPF maps: {:#}{remedy}",
        anyhow!(error)
    )
}

/// The kernel did not take a program that aya offered.
pub fn program(name: &str, error: ProgramError, verbosity: u8) -> anyhow::Error {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => rejected(name, &io_error, &verifier_log.to_string(), verbosity),
        other => anyhow!(
            "the kernel does not take the BPF program {name}: {}",
            chain(&other)
        ),
    }
}

/// The kernel did not take a program; `log` is what the verifier said, empty if it was not even asked.
pub fn rejected(name: &str, error: &io::Error, log: &str, verbosity: u8) -> anyhow::Error {
    let what = format!("the kernel does not take the BPF program {name}: {error}");
    if log.trim().is_empty() {
        return match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => anyhow!("{what}: {PRIVILEGES}"),
            _ => anyhow!(what),
        };
    }
    let log = if verbosity >= VERBOSE {
        log.trim_end().to_owned()
    } else {
        tail(log)
    };
    anyhow!("{what}; please report this with the verifier's log:\n{log}")
}

/// The last lines of `log`, and how many are missing.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.trim_end().lines().collect();
    let Some(missing) = lines.len().checked_sub(LOG_LINES).filter(|&n| n > 0) else {
        return lines.join("\n");
    };
    format!(
        "({missing} lines left out, -v has them)\n{}",
        lines[missing..].join("\n")
    )
}

/// A probe could not be attached by aya.
pub fn attach(error: ProgramError) -> anyhow::Error {
    let number = number(&error);
    explained(chain(&error), number)
}

/// A multi-uprobe link could not be made.
pub fn link(error: io::Error) -> anyhow::Error {
    let number = error.raw_os_error();
    explained(error.to_string(), number)
}

fn explained(error: String, number: Option<i32>) -> anyhow::Error {
    match number.and_then(remedy) {
        Some(remedy) => anyhow!("{error}: {remedy}"),
        None => anyhow!(error),
    }
}

/// What a failed attach means, by error number (kernel/events/uprobes.c, kernel/trace/bpf_trace.c).
fn remedy(number: i32) -> Option<&'static str> {
    match number {
        libc::EPERM | libc::EACCES => Some(PRIVILEGES),
        libc::ENOENT => Some(
            "the file is not there any more, or perf cannot probe: \
             /sys/bus/event_source/devices/uprobe must exist (CONFIG_UPROBE_EVENTS)",
        ),
        libc::ESRCH => Some("the target has ended"),
        libc::EBADF => Some("not a regular file"),
        libc::EINVAL => Some(
            "the offset is not in the file, or another tool holds a probe with another reference counter at this place \
             (the kernel log then says `ref_ctr_offset mismatch`): stop that tool and attach again",
        ),
        libc::EOPNOTSUPP | ENOTSUPP => {
            Some("the kernel cannot probe this instruction, or a debugger's breakpoint is there")
        }
        libc::EMFILE | libc::ENFILE => Some("too many open files: raise the limit (`ulimit -n`)"),
        _ => None,
    }
}

/// The messages from `error` down. Some of aya's repeat the one below: those are said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        next = cause.source();
    }
    text
}

/// The error number at the bottom of `error`.
fn number(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> String {
        (0..count).map(|n| format!("line {n}\n")).collect()
    }

    /// A rejected program's message ends in the verifier's last lines, and says that there were more.
    #[test]
    fn the_end_of_the_log_is_shown() {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        let message = rejected("free_enter", &error, &lines(100), 0).to_string();
        assert!(message.contains("free_enter"), "{message}");
        assert!(message.contains("(60 lines left out"), "{message}");
        assert!(!message.contains("line 59\n"), "{message}");
        assert!(message.ends_with("line 98\nline 99"), "{message}");
    }

    /// With -v nothing is left out, and neither is it where the log is short.
    #[test]
    fn the_whole_log_is_shown_when_asked_for() {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        for (count, verbosity) in [(100, 1), (LOG_LINES, 0)] {
            let message = rejected("free_enter", &error, &lines(count), verbosity).to_string();
            assert!(message.contains("\nline 0\n"), "{message}");
            assert!(!message.contains("left out"), "{message}");
        }
    }

    /// A refusal before the verifier was asked names the capabilities, not the program's faults.
    #[test]
    fn missing_privileges_are_named() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let message = rejected("free_enter", &error, "", 0).to_string();
        assert!(message.contains("CAP_BPF"), "{message}");
        assert!(!message.contains("log"), "{message}");
    }

    /// Both ways of attaching explain an error number alike, however deep aya wraps it.
    #[test]
    fn numbers_are_explained_through_aya() {
        for (errno, word) in [
            (libc::EINVAL, "ref_ctr_offset"),
            (libc::ESRCH, "the target has ended"),
            (ENOTSUPP, "instruction"),
        ] {
            let io_error = || io::Error::from_raw_os_error(errno);
            let call = "perf_event_open";
            let wrapped = aya::sys::SyscallError {
                call,
                io_error: io_error(),
            };
            let by_aya = attach(wrapped.into()).to_string();
            let by_us = link(io_error()).to_string();
            assert!(by_aya.contains(word), "{by_aya}");
            assert!(by_aya.contains(call), "{by_aya}");
            assert!(by_us.contains(word), "{by_us}");
        }
    }
}
