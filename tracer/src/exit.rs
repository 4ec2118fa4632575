//! How a run ends: exit codes, the errors that decide them, and what is printed last.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::target::{Pid, Tid};

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// Anything that has no code of its own.
    Failed = 1,
    Usage = 2,
    /// The target or the kernel does not allow it.
    Refused = 3,
    /// The target ended before the first probe was live.
    TargetEnded = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What was typed can't be meant; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The target was gone before anything could be traced; exit code 4.
#[derive(Debug, thiserror::Error)]
#[error(
    "process {pid} {how}, so there is nothing to trace: `offheap list` shows the JVMs that are running"
)]
pub struct TargetEnded {
    pub pid: Pid,
    /// `ended before the first probe was live`, `has ended and waits for its parent (zombie)` …
    pub how: &'static str,
}

impl TargetEnded {
    pub fn before_first_probe(pid: Pid) -> TargetEnded {
        TargetEnded {
            pid,
            how: "ended before the first probe was live",
        }
    }

    pub fn zombie(pid: Pid) -> TargetEnded {
        TargetEnded {
            pid,
            how: "has already ended and waits for its parent to notice (zombie)",
        }
    }
}

/// The target or the kernel does not allow it; exit code 3. Each message says what, on which object, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(
        "no process {0}: `offheap list` shows the JVMs on this host; a pid from inside a container is another one here"
    )]
    NoSuchProcess(Pid),
    #[error(
        "process {pid} ({comm}) is a kernel thread, which has no memory of its own: give the pid of a program"
    )]
    KernelThread { pid: Pid, comm: String },
    #[error("{tid} is a thread of process {pid}: give {pid}, all its threads are traced")]
    IsThread { tid: Tid, pid: Pid },
    #[error(
        "the main thread of process {0} has ended and its memory can't be read through it: nothing but a restart helps"
    )]
    MainThreadEnded(Pid),
    #[error("process {pid} is a 32-bit program ({exe}): only 64-bit programs can be traced")]
    ThirtyTwoBit { pid: Pid, exe: String },
    #[error("process {pid} of {owner} can't be read by {us}: {remedy}")]
    NotOurs {
        pid: Pid,
        owner: String,
        us: String,
        remedy: String,
    },
    #[error("missing {missing}: {remedy}")]
    Privileges { missing: String, remedy: String },
    /// A requirement on the kernel, its settings or the target that is not met.
    #[error("{what}: {remedy}")]
    Unsupported { what: String, remedy: String },
}

/// Says how the run ended, in at most one line on stderr, and gives the process its exit code.
pub fn report(outcome: anyhow::Result<Exit>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => match error.downcast_ref::<clap::Error>() {
            Some(asked) if !asked.use_stderr() => match print(asked) {
                Ok(()) => Exit::Done.into(),
                Err(failed) => complain(&failed),
            },
            _ => complain(&error),
        },
    }
}

fn complain(error: &anyhow::Error) -> ExitCode {
    hint(&message(error));
    code(error).into()
}

/// Writes one line to stderr. When stderr is gone nobody is left to tell.
pub fn hint(line: &str) {
    let _ = writeln!(io::stderr(), "offheap: {line}");
}

/// Writes a line to stderr as it is: scripts wait for some of them.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The exit code that an error stands for.
pub fn code(error: &anyhow::Error) -> Exit {
    if error.is::<clap::Error>() || error.is::<Usage>() {
        Exit::Usage
    } else if error.is::<Refusal>() {
        Exit::Refused
    } else if error.is::<TargetEnded>() {
        Exit::TargetEnded
    } else {
        Exit::Failed
    }
}

/// The error with its causes in one line.
fn message(error: &anyhow::Error) -> String {
    match error.downcast_ref::<clap::Error>() {
        Some(usage) => crate::cli::one_line(usage),
        None => format!("{error:#}").replace(['\n', '\r'], " "),
    }
}

/// Writes a report to stdout. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// When stdout can't be written, for example because the disk behind it is full.
pub fn print(text: &(impl Display + ?Sized)) -> anyhow::Result<()> {
    write(text.to_string().as_bytes())
}

/// Writes bytes to stdout. That nobody reads them any more is no error.
///
/// # Errors
/// As [`print()`].
pub fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("can't write to standard output"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    /// Each kind of error has the documented exit code, also under added context.
    #[test]
    fn codes() {
        let refused = anyhow::Error::new(Refusal::NoSuchProcess(Pid(7)));
        assert_eq!(code(&refused), Exit::Refused);
        assert_eq!(code(&refused.context("preparing")), Exit::Refused);
        assert_eq!(
            code(&anyhow::Error::new(TargetEnded::zombie(Pid(7)))),
            Exit::TargetEnded
        );
        assert_eq!(code(&anyhow::Error::new(Usage("x".into()))), Exit::Usage);
        assert_eq!(code(&anyhow::anyhow!("x")), Exit::Failed);
    }

    /// Causes are joined by colons and no line break of an inner message gets through.
    #[test]
    fn one_line() {
        let error = Err::<(), _>(io::Error::other("inner\nmessage"))
            .context("outer")
            .unwrap_err();
        assert_eq!(message(&error), "outer: inner message");
    }
}
