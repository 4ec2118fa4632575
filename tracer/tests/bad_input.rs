//! What bad input gets: one clear line on stderr, the documented exit code, nothing on stdout, no stack trace.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

const NOBODY: u32 = 65534;

fn offheap(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offheap"));
    command
        .args(line.split_whitespace())
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null());
    command
}

/// The one line, after checking the form that all refusals have.
fn refused(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(
        stderr.starts_with("offheap: ") && stderr.ends_with('\n'),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        !stderr.contains("backtrace") && !stderr.contains("panicked"),
        "{stderr}"
    );
    stderr
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Wrong usage has exit code 2 and names the value, the flag and the way out.
#[test]
fn usage() {
    for (line, expected) in [
        ("", "--help"),
        ("attach", "offheap list"),
        ("capture", "offheap capture 4242"),
        ("watch --every 5m", "offheap list"),
        ("attach java", "not a process id"),
        ("attach 42 --frobnicate", "--frobnicate"),
        ("capture 42 -d 5y", "unknown unit `y`"),
        ("capture 42 -d=-5s", "negative"),
        ("capture 42 --sample-bytes 1kb", "unknown unit `kb`"),
        (
            "capture 42 --sample-bytes 99999999999999999999",
            "too large",
        ),
        ("capture 42 --stack-bytes 48k", "--stack-bytes"),
        ("capture 42 --include a(b", "not a regular expression"),
        ("capture 42 -o out%d", "only %p"),
        ("watch 42 --every 1ms", "--every"),
        ("42", "offheap attach 42"),
    ] {
        let message = refused(&offheap(line).output().unwrap(), 2);
        assert!(message.contains(expected), "{line}: {message}");
    }
}

/// A pid that nobody has gives exit code 3 and the way to find the right one, in all three ways of use.
#[test]
fn no_such_pid() {
    for command in ["attach", "capture", "watch"] {
        // The largest pid that is accepted at all; no kernel hands it out, since pid_max is exclusive.
        let message = refused(&offheap(&format!("{command} 4194304")).output().unwrap(), 3);
        assert!(
            message.contains("no process 4194304") && message.contains("offheap list"),
            "{message}"
        );
    }
}

/// A process that has ended gives exit code 4.
#[test]
fn ended() {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    wait_without_reaping(&child);
    let message = refused(
        &offheap(&format!("attach {}", child.id())).output().unwrap(),
        4,
    );
    assert!(message.contains("zombie"), "{message}");
    child.wait().unwrap();
}

fn wait_without_reaping(child: &Child) {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is writable memory of the right type.
    let waited = unsafe {
        libc::waitid(
            libc::P_PID,
            child.id(),
            info.as_mut_ptr(),
            libc::WEXITED | libc::WNOWAIT,
        )
    };
    assert_eq!(waited, 0);
}

/// A process of ours is refused for the missing capabilities, by name, when we have none; a process of another user
/// for its owner. Asked as nobody when the tests run as root.
#[test]
fn without_privileges() {
    let folder = tempfile::tempdir().unwrap();
    let copy = copy_for_all(&folder);
    let as_nobody = |program: PathBuf| {
        let mut command = Command::new(program);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    };
    let mut own = as_nobody(PathBuf::from("cat"));
    let mut own = own
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = as_nobody(copy.clone())
        .args(["attach", &own.id().to_string()])
        .output()
        .unwrap();
    own.kill().unwrap();
    own.wait().unwrap();
    let message = refused(&output, 3);
    assert!(
        message.contains("missing CAP_BPF and CAP_PERFMON") && message.contains("sudo"),
        "{message}"
    );

    let others = if is_root() { std::process::id() } else { 1 };
    let message = refused(
        &as_nobody(copy)
            .args(["attach", &others.to_string()])
            .output()
            .unwrap(),
        3,
    );
    assert!(
        message.contains("of root (uid 0)") && message.contains("sudo"),
        "{message}"
    );
}

/// Root without one capability is refused by that capability's name, where the kernel asks for it.
#[test]
fn root_without_a_capability() {
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    if !is_root() {
        eprintln!("skipped: taking capabilities away from root takes root");
        return;
    }
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut command = offheap(&format!("doctor {}", cat.id()));
    // SAFETY: prctl is a plain system call and may be used between fork and exec.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
    let output = command.output().unwrap();
    cat.kill().unwrap();
    cat.wait().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    match output.status.code() {
        // Where one kind of link is refused, the other has to be there.
        Some(0) => assert!(
            table.contains("attached to offheap itself") || table.contains("uprobe_multi links"),
            "{table}"
        ),
        Some(3) => assert!(
            table.contains("CAP_SYS_ADMIN") || table.contains("CAP_BPF"),
            "{table}"
        ),
        other => panic!("{other:?}: {table}"),
    }
}

/// The binary where everybody may run it: the build's folder may be closed to others.
fn copy_for_all(folder: &tempfile::TempDir) -> PathBuf {
    let copy = folder.path().join("offheap");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_offheap"), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// The doctor fails with exit code 3 for a target that can't be traced, and still prints all rows.
#[test]
fn doctor_refuses() {
    let output = offheap("doctor 4194304").output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{table}");
    assert!(
        table.contains("FAIL  process") && table.contains("tracing will not work"),
        "{table}"
    );
    assert!(output.stderr.is_empty());
}

/// A reader that goes away early is no error and no panic.
#[test]
fn reader_goes_away() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    for line in ["--help", "doctor"] {
        let output = offheap(line)
            .stdout(writer.try_clone().unwrap())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    }
}

/// A full disk behind stdout is an error with a reason and exit code 1.
#[test]
fn stdout_full() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = offheap("doctor")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let message = refused(&output, 1);
    assert!(
        message.contains("standard output") && message.contains("No space left"),
        "{message}"
    );
}

/// Help and version go to stdout with exit code 0.
#[test]
fn help_and_version() {
    for (line, expected) in [
        ("--help", "Start here"),
        ("capture -h", "--sample-bytes"),
        ("--version", "offheap "),
    ] {
        let output = offheap(line).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty() && text.contains(expected),
            "{line}: {text}"
        );
    }
}
