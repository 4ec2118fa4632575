//! What this machine allows, and the lock that makes privileged tests run one at a time.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{kernel, sources, tool};

/// Permission to trace, held by one test at a time on this machine's build directory: probes and the lists of them are
/// state that tests share.
pub struct Session {
    _lock: File,
}

/// Begins a privileged test. None, with the reason printed, where this machine lacks something.
///
/// # Panics
///
/// With `OFFHEAP_REQUIRE_PRIVILEGED=1` a missing privilege is a failure and not a skip.
pub fn session() -> Option<Session> {
    if let Some(missing) = missing_privilege() {
        assert!(
            !required(),
            "{missing} is missing, and OFFHEAP_REQUIRE_PRIVILEGED=1"
        );
        skip(&missing);
        return None;
    }
    Some(Session { _lock: lock() })
}

/// All rows of tables are wanted (`cargo xtask test --full`), and not only those of a usual run.
pub fn is_full() -> bool {
    std::env::var_os("OFFHEAP_FULL").is_some_and(|value| value == "1")
}

/// Says that a test can't run here, and what is missing.
pub fn skip(missing: &str) {
    println!("skipped: {missing}");
}

/// Says so and gives true where the program `name` is missing.
pub fn lacks_program(name: &str) -> bool {
    let lacks = program(name).is_none();
    if lacks {
        skip(name);
    }
    lacks
}

/// Says so and gives true where the dynamic linker does not find the shared library `name`.
pub fn lacks_library(name: &str) -> bool {
    let lacks = !library_is_found(name);
    if lacks {
        skip(name);
    }
    lacks
}

/// Whether the dynamic linker finds the shared library `name`; it complains about what it can't preload.
pub fn library_is_found(name: &str) -> bool {
    let Ok(output) = Command::new("true").env("LD_PRELOAD", name).output() else {
        return false;
    };
    output.status.success()
        && !String::from_utf8_lossy(&output.stderr).contains("cannot be preloaded")
}

/// Where `name` is in PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What a privileged test lacks here.
pub fn missing_privilege() -> Option<String> {
    if !is_root() {
        return Some("root".to_owned());
    }
    if let Err(error) = kernel::programs() {
        return Some(format!("bpf(2) ({error})"));
    }
    if !Path::new("/sys/bus/event_source/devices/uprobe").exists() {
        return Some("uprobes in the kernel".to_owned());
    }
    if tool::binary().is_none() {
        return Some(
            "a built offheap (OFFHEAP_BIN names none; `cargo xtask test` builds it and says where)"
                .to_owned(),
        );
    }
    if program("cc").is_none() {
        return Some("cc".to_owned());
    }
    None
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing and can't fail.
    unsafe { libc::geteuid() == 0 }
}

fn required() -> bool {
    std::env::var_os("OFFHEAP_REQUIRE_PRIVILEGED").is_some_and(|value| value == "1")
}

fn lock() -> File {
    let path = sources::directory().join("lock");
    let file = File::create(&path)
        .unwrap_or_else(|error| panic!("can't create {}: {error}", path.display()));
    // SAFETY: a descriptor that is open; another thread's lock is another open file, so that threads wait as well.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "can't lock {}", path.display());
    file
}
