//! Targets that see other files than the tool: another mount namespace, another root, deleted files, another pid
//! namespace.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use offheap::capture::SiteKind;
use offheap_tests::process::{in_own_mounts, only_child};
use offheap_tests::session::lacks_program;
use offheap_tests::{CFlags, Target, Tool, assert_exact, c_library, c_program, session};
use tempfile::TempDir;

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];

fn assert_traced(mut target: Target, work: &str) {
    let (capture, truths) = target.captured(&EXACT);
    assert_exact(&capture, SiteKind::Malloc, work, &truths);
}

fn copy_to(folder: &Path, file: &Path) -> std::path::PathBuf {
    let copy = folder.join(file.file_name().expect("a file"));
    fs::copy(file, &copy).unwrap_or_else(|error| panic!("can't copy {}: {error}", file.display()));
    copy
}

/// A program and a library that exist only in the target's own mount namespace are probed there and named.
#[test]
fn another_mount_namespace() {
    if lacks_program("unshare") || lacks_program("mount") {
        return;
    }
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    let (program, library) = (
        c_program("host", CFlags::default()),
        c_library("plugin", CFlags::default()),
    );
    // The same path shows an empty folder to everybody else.
    let script = "mount -t tmpfs tmpfs \"$1\" && cp \"$2\" \"$3\" \"$1\" && exec \"$1/host\" \"$1/libplugin.so\"";
    let mut command = in_own_mounts(script);
    command.args([folder.path(), program.as_path(), library.as_path()]);
    let target = Target::start(&mut command);
    assert!(
        !folder.path().join("host").exists(),
        "the files are the target's alone"
    );
    assert_traced(target, "plugin_work");
}

/// A static program below another root is probed by its own file.
#[test]
fn another_root() {
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    let program = c_program(
        "reuse",
        CFlags {
            compile: &["-static"],
            ..CFlags::default()
        },
    );
    copy_to(folder.path(), &program);
    let root = std::ffi::CString::new(folder.path().to_str().expect("a temporary path is text"))
        .expect("no zero byte");
    let mut command = Command::new("/reuse");
    // SAFETY: chroot and chdir are system calls that allocate nothing, as is demanded between fork and exec.
    unsafe {
        command.pre_exec(
            move || match libc::chroot(root.as_ptr()) + libc::chdir(c"/".as_ptr()) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
    assert_traced(Target::start(&mut command), "work");
}

/// A program and a library that were deleted, or replaced by an upgrade, while the target runs are probed as mapped.
#[test]
fn deleted_files() {
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    let program = copy_to(folder.path(), &c_program("host", CFlags::default()));
    let library = copy_to(folder.path(), &c_library("plugin", CFlags::default()));
    let target = Target::start(Command::new(&program).arg(&library));
    fs::remove_file(&program).expect("an own file");
    fs::remove_file(&library).expect("an own file");
    // What stands at the path now is something else.
    fs::write(&library, "not the library that is mapped").expect("an own file");
    assert_traced(target, "plugin_work");
}

/// A target in a pid namespace of its own, as in a container, is traced by the pid that it has outside.
#[test]
fn another_pid_namespace() {
    if lacks_program("unshare") {
        return;
    }
    let Some(_session) = session() else { return };
    let program = c_program("reuse", CFlags::default());
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child"])
        .arg(program);
    let mut outer = Target::start(&mut command);
    let pid = only_child(outer.pid());
    let tool = Tool::capture(pid, &EXACT);
    let truths = outer.work();
    let capture = tool.finish();
    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
}
