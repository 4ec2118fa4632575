//! What can't be traced: one clear line, the exit code of its kind, and no stack trace.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use offheap_tests::session::skip;
use offheap_tests::tool::binary;
use offheap_tests::{CFlags, Finished, Target, Tool, c_program, session};
use tempfile::TempDir;

/// The kinds of exit that interfaces promise.
const USAGE: i32 = 2;
const NOT_ALLOWED: i32 = 3;
const TARGET_ENDED: i32 = 4;
/// `PF_KTHREAD` of linux/sched.h, as field 9 of /proc/PID/stat shows it.
const KERNEL_THREAD: u64 = 0x0020_0000;
const NOBODY: u32 = 65534;

fn refused(arguments: &[&str]) -> Finished {
    Tool::start(arguments).ended()
}

fn assert_one_line(finished: &Finished, code: i32, mentions: &str) {
    assert_eq!(finished.code, Some(code), "{finished:#?}");
    let messages = finished.messages();
    assert_eq!(messages.len(), 1, "one line says it: {messages:#?}");
    assert!(
        messages[0].contains(mentions),
        "{mentions:?} is named in {:?}",
        messages[0]
    );
}

/// On a kernel before 5.15 doctor and a capture say which one is needed, with exit code 3; on any other the kernel takes all
/// of the programs.
#[test]
fn an_old_kernel_is_refused_and_no_other() {
    let Some(_session) = session() else { return };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc is mounted");
    let numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse().ok());
    let is_old = numbers.collect::<Vec<u32>>() < vec![5, 15];
    let doctor = refused(&["doctor"]);
    let row = |name: &str| {
        let mut rows = doctor.stdout.iter();
        rows.any(|row| row.starts_with("ok") && row.contains(name))
    };
    let expected = if is_old { NOT_ALLOWED } else { 0 };
    assert_eq!(doctor.code, Some(expected), "{release}: {doctor:#?}");
    assert_eq!((row("attach cookie"), row("programs")), (!is_old, !is_old));
    if is_old {
        let target = Target::start(&mut Command::new(c_program("process", CFlags::default())));
        let refusal = refused(&["capture", &target.pid().to_string(), "-d", "1s"]);
        assert_one_line(&refusal, NOT_ALLOWED, "use Linux 5.15 or newer");
    }
}

/// A pid that nobody has is named, with exit code 3.
#[test]
fn no_such_pid() {
    let Some(_session) = session() else { return };
    // The largest pid that the kernel can give is one below pid_max.
    let nobody = fs::read_to_string("/proc/sys/kernel/pid_max")
        .expect("proc is mounted")
        .trim()
        .to_owned();
    assert_one_line(
        &refused(&["capture", &nobody, "-d", "1s"]),
        NOT_ALLOWED,
        &nobody,
    );
    assert_one_line(&refused(&["attach", &nobody]), NOT_ALLOWED, &nobody);
}

/// A kernel thread has no memory of its own to trace, and is called a kernel thread.
#[test]
fn a_kernel_thread() {
    let Some(_session) = session() else { return };
    let Some(pid) = kernel_thread() else {
        return skip("visible kernel threads (a pid namespace hides them)");
    };
    assert_one_line(
        &refused(&["capture", &pid, "-d", "1s"]),
        NOT_ALLOWED,
        "kernel thread",
    );
}

fn kernel_thread() -> Option<String> {
    let is_kernel_thread = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may contain anything; the flags are the seventh word after it.
        let flags = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(6))
            .map(str::parse::<u64>);
        matches!(flags, Some(Ok(flags)) if flags & KERNEL_THREAD != 0)
    };
    let pids = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .find(is_kernel_thread)
}

/// Durations, sizes and hooks that mean nothing are refused as usage errors that quote them, before anything is traced.
#[test]
fn bad_arguments() {
    let Some(_session) = session() else { return };
    let target = Target::start(&mut Command::new(c_program("reuse", CFlags::default())));
    let pid = target.pid().to_string();
    let bad = [
        (&["-d", "5 parsecs"][..], "parsecs"),
        (&["-d", "-1s"], "-1"),
        (&["-d", "99999999999999999999s"], "99999999999999999999"),
        (&["-d", "nan"], "nan"),
        (&["--sample-bytes", "1q"], "1q"),
        (
            &["--sample-bytes", "99999999999999999999"],
            "99999999999999999999",
        ),
        (&["--stack-bytes", "banana"], "banana"),
        (&["--min-size", "-5"], "-5"),
        (&["--hooks", "malloc,teapot"], "teapot"),
        (&["--no-such-flag"], "--no-such-flag"),
    ];
    for (flags, quoted) in bad {
        let finished = refused(&[&["capture", &pid], flags].concat());
        assert_eq!(finished.code, Some(USAGE), "{flags:?}: {finished:#?}");
        let first = finished
            .messages()
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned();
        assert!(
            first.contains(quoted),
            "{flags:?}: {quoted:?} is quoted in {first:?}"
        );
    }
    for pid in ["abc", "-1", "99999999999999"] {
        assert_eq!(
            refused(&["capture", pid, "-d", "1s"]).code,
            Some(USAGE),
            "the pid {pid:?}"
        );
    }
}

/// A user without privileges is told which capabilities are missing, with exit code 3, also for a target of their own;
/// somebody else's process is refused as such.
#[test]
fn without_privileges() {
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    open_to_all(folder.path());
    // Where the binaries lie another user may not look.
    let tool = copy_to(folder.path(), &binary().expect("a session was begun"));
    let program = copy_to(folder.path(), &c_program("reuse", CFlags::default()));
    let own = Target::start(
        Command::new(&program)
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/"),
    );
    let of_root = Target::start(&mut Command::new(&program));
    for (target, mentions) in [(&own, "CAP_"), (&of_root, "root")] {
        let mut command = Command::new(&tool);
        let pid = target.pid().to_string();
        command.args(["capture", &pid, "-d", "1s"]);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        let out = TempDir::new().expect("a temporary directory");
        give_to(NOBODY, out.path());
        command.arg("-o").arg(out.path().join("bundle"));
        assert_one_line(
            &Tool::spawn(&mut command, out).ended(),
            NOT_ALLOWED,
            mentions,
        );
    }
}

fn give_to(user: u32, folder: &Path) {
    std::os::unix::fs::chown(folder, Some(user), Some(user))
        .expect("root gives an own folder away");
}

fn copy_to(folder: &Path, file: &Path) -> PathBuf {
    let copy = folder.join(file.file_name().expect("a file"));
    fs::copy(file, &copy).unwrap_or_else(|error| panic!("can't copy {}: {error}", file.display()));
    copy
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .expect("the mode of an own folder");
}

/// A target that ends before, during or right after the attach gives one line and an exit code of its own, or a normal
/// end once a probe was live; never a hang and never a trace.
#[test]
fn a_target_that_ends_around_the_attach() {
    let Some(_session) = session() else { return };
    let mut seed = 0xdead_u64;
    for _ in 0..10 {
        let mut target = Target::start(&mut Command::new(c_program("reuse", CFlags::default())));
        let tool = Tool::capture_unawaited(target.pid(), &[]);
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        // Not a wait for anything: the moment is what this test varies.
        std::thread::sleep(std::time::Duration::from_micros(seed >> 32 & 0x3_ffff));
        target.kill();
        let finished = tool.ended();
        match finished.code {
            Some(0) => assert!(finished.capture().target.ended),
            Some(NOT_ALLOWED | TARGET_ENDED) => {
                assert_eq!(finished.messages().len(), 1, "{finished:#?}")
            }
            _ => panic!("neither a normal end nor a refusal: {finished:#?}"),
        }
    }
}

/// A process that has ended and was not waited for is refused in one line.
#[test]
fn a_zombie() {
    let Some(_session) = session() else { return };
    let mut child = Command::new("true").spawn().expect("true starts");
    let stat = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&stat)
        .expect("not waited for")
        .contains(") Z ")
    {
        std::thread::yield_now();
    }
    let finished = refused(&["capture", &child.id().to_string(), "-d", "1s"]);
    assert!(
        matches!(finished.code, Some(NOT_ALLOWED | TARGET_ENDED)),
        "{finished:#?}"
    );
    assert_eq!(finished.messages().len(), 1, "{finished:#?}");
    child.wait().expect("an own child");
}
