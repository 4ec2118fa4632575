//! Asks the JVM itself, as `jcmd` does: the only part of triage that the target notices.
//!
//! Protocol of HotSpot's `attachListener_linux.cpp`, JDK 8 to 25: a socket `/tmp/.java_pid<pid>`, which the JVM opens when it
//! finds a file `.attach_pid<pid>` at a SIGQUIT; a request is a version, a command and three arguments, each ended by a zero;
//! the answer is a number, a line break, and text.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::report::Asked;
use crate::target::process::Process;
use crate::target::root;

const COMMANDS: [&str; 2] = ["VM.native_memory summary", "GC.heap_info"];
/// The JVM answers when it can stop at a safepoint.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks for the socket.
const PAUSE: Duration = Duration::from_millis(20);
const MAX_ANSWER: u64 = 1 << 20;

/// Asks for [`COMMANDS`]; why there is no answer is part of what comes back.
pub fn ask(process: &Process) -> Asked {
    let mut asked = Asked {
        asked: true,
        ..Asked::default()
    };
    if let Err(error) = attempt(process, &mut asked) {
        asked.failed = Some(format!("{error:#}"));
    }
    asked
}

fn attempt(process: &Process, asked: &mut Asked) -> anyhow::Result<()> {
    let top = root::of(process.directory()).context("its root folder can't be opened")?;
    let folder =
        root::open_folder_in(&top, Path::new("/tmp")).context("its /tmp can't be opened")?;
    let pid = process.namespaces.innermost_pid(process.pid);
    let socket = below(&folder, &format!(".java_pid{pid}"));
    if !is_socket_of(process, &socket) {
        asked.signalled = true;
        open_socket(process, &folder, &format!(".attach_pid{pid}"), &socket)?;
    }
    for command in COMMANDS {
        let answer = request(process, &socket, command)
            .with_context(|| format!("{command} was not answered"))?;
        asked.answers.insert(command.to_owned(), answer);
    }
    Ok(())
}

/// A path in an opened folder.
fn below(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// No link is followed: `/tmp` is everybody's.
fn is_socket_of(process: &Process, path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path);
    metadata.is_ok_and(|metadata| metadata.file_type().is_socket() && metadata.uid() == process.uid)
}

/// Has the JVM open its socket.
fn open_socket(
    process: &Process,
    folder: &File,
    trigger: &str,
    socket: &Path,
) -> anyhow::Result<()> {
    ensure!(
        catches_quit(process),
        "it does not handle SIGQUIT (-Xrs, or no JVM): the signal would end it, so it was not sent"
    );
    let path = below(folder, trigger);
    // A file or link that is there already is somebody else's.
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(&path)
        .context("the file that asks for the socket can't be made in its /tmp")?;
    let outcome = await_socket(process, &file, socket);
    fs::remove_file(&path).context("the file that asked for the socket can't be removed")?;
    outcome
}

fn await_socket(process: &Process, file: &File, socket: &Path) -> anyhow::Result<()> {
    // The JVM heeds its own user's file only.
    std::os::unix::fs::fchown(file, Some(process.uid), None)
        .context("the file that asks for the socket can't be given to its user")?;
    // SAFETY: the descriptor is open, no siginfo is given, and the flags have to be zero.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_fd().as_raw_fd(),
            libc::SIGQUIT,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent != 0 {
        return Err(io::Error::last_os_error()).context("SIGQUIT can't be sent");
    }
    let begin = Instant::now();
    while begin.elapsed() < TIMEOUT {
        if is_socket_of(process, socket) {
            return Ok(());
        }
        ensure!(!process.ended(), "it has ended");
        thread::sleep(PAUSE);
    }
    bail!(
        "it opened no socket within {} s (-XX:+DisableAttachMechanism?)",
        TIMEOUT.as_secs()
    )
}

/// Whether SIGQUIT has a handler, by `SigCgt` in `status`.
fn catches_quit(process: &Process) -> bool {
    let mut status = String::new();
    let read = process
        .open_file("status")
        .and_then(|file| file.take(64 << 10).read_to_string(&mut status));
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    read.is_ok() && mask.is_some_and(|mask| mask & (1 << (libc::SIGQUIT - 1)) != 0)
}

fn request(process: &Process, socket: &Path, command: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    ensure!(
        peer(&stream)? == process.pid.0,
        "another process listens there"
    );
    stream.write_all(format!("1\0jcmd\0{command}\0\0\0").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (code, text) = text.split_once('\n').context("the answer is cut off")?;
    ensure!(code.trim() == "0", "the JVM says {}", printable(text));
    Ok(printable(text))
}

/// Lines stay lines, other control characters don't.
fn printable(text: &str) -> String {
    let safe = |line: &str| crate::target::text::printable(line.trim_end().as_bytes());
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

/// The process on the other side.
fn peer(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both are live for the call, which writes at most `len` bytes.
    let failed = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(credentials.pid.unsigned_abs())
}

/// What is left to say of an attempt.
pub fn describe(asked: &Asked) -> Vec<String> {
    let how = if asked.signalled {
        "SIGQUIT and its attach socket"
    } else {
        "its attach socket"
    };
    let failed = asked.failed.iter().map(|reason| match asked.asked {
        true => format!("asked the JVM through {how}, without an answer: {reason}"),
        false => reason.clone(),
    });
    let answers = asked
        .answers
        .iter()
        .map(|(command, answer)| format!("asked the JVM through {how}: {command}\n{answer}"));
    answers.chain(failed).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Answers keep their lines and lose what steers a terminal; the report says how the JVM was asked.
    #[test]
    fn answers() {
        assert_eq!(printable("a\x1b[2J\r\n b\n"), "a\u{fffd}[2J\n b");
        let asked = Asked {
            asked: true,
            signalled: true,
            answers: BTreeMap::from([("GC.heap_info".to_owned(), "heap".to_owned())]),
            failed: None,
        };
        assert_eq!(
            describe(&asked),
            ["asked the JVM through SIGQUIT and its attach socket: GC.heap_info\nheap"]
        );
    }

    /// A process without a handler for SIGQUIT is not sent one.
    #[test]
    fn no_handler() {
        let us = Process::open(crate::target::Pid(std::process::id())).unwrap();
        assert!(!catches_quit(&us));
    }
}
