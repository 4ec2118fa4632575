//! Judges a target.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;

use super::check::Check;
use crate::exit::{self, Exit};
use crate::target::jvm::{self, Release};
use crate::target::process::Process;
use crate::target::{text, user};

/// The row for a target that can't be opened; the message of a refusal is `what: remedy`.
pub fn refused(error: &anyhow::Error) -> Check {
    let message = format!("{error:#}");
    match message.split_once(": ") {
        Some((what, remedy)) if exit::code(error) != Exit::Failed => {
            Check::fail("process", what, remedy)
        }
        _ => Check::fail("process", message, ""),
    }
}

/// One row per thing that the target has to allow.
pub fn checks(process: &Process) -> Vec<Check> {
    let names: BTreeSet<String> = jvm::mapped_names(process.directory())
        .map(Iterator::collect)
        .unwrap_or_default();
    let mut checks = vec![
        identity(process),
        memory(process),
        java(process),
        libraries(&names),
    ];
    checks.extend(mapped_files(process));
    checks.extend(namespaces(process));
    if names.contains("[uprobes]") {
        checks.push(Check::ok(
            "earlier probes",
            "uprobes were hit in this process before; their page stays to its end",
        ));
    }
    checks
}

fn identity(process: &Process) -> Check {
    let owner = user::describe(process.uid);
    let threads = process
        .threads()
        .map_or_else(|_| "?".to_owned(), |tids| tids.len().to_string());
    let rss = process.rss().unwrap_or_default() >> 20;
    Check::ok(
        "process",
        format!(
            "{} ({}) of {owner}, {threads} threads, {rss} MiB resident",
            process.pid, process.comm
        ),
    )
}

/// Opening `mem` asks for the access that reading the JVM's tables needs; nothing is read.
fn memory(process: &Process) -> Check {
    match process.open_file("mem") {
        Ok(_) => Check::ok("memory", "can be read"),
        Err(error) => Check::fail(
            "memory",
            format!("/proc/{}/mem can't be opened: {error}", process.pid),
            "run offheap as root with CAP_SYS_PTRACE; kernel.yama.ptrace_scope must be below 3",
        ),
    }
}

fn java(process: &Process) -> Check {
    const NAME: &str = "JVM";
    match jvm::find(process.directory()) {
        Ok(Some(jvm)) => {
            let libjvm = text::printable(jvm.libjvm.as_bytes());
            match jvm.release {
                Release::Known {
                    version,
                    implementor,
                } => Check::ok(
                    NAME,
                    format!(
                        "JDK {version} {}, {libjvm}",
                        implementor.unwrap_or_default()
                    ),
                ),
                Release::Unknown => Check::ok(NAME, format!("JDK of unknown version, {libjvm}")),
                Release::Replaced => {
                    Check::ok(NAME, format!("{libjvm}, replaced on disk since the start"))
                }
            }
        }
        Ok(None) => Check::warn(
            NAME,
            "none: no libjvm.so is mapped",
            "it is traced with native frames only",
        ),
        Err(error) => Check::warn(NAME, format!("the mappings can't be read: {error}"), ""),
    }
}

/// Files by whose names allocators and zlib are known. What is probed is decided by symbols; this is a preview.
fn libraries(names: &BTreeSet<String>) -> Check {
    const KNOWN: [&str; 9] = [
        "libc.so",
        "libc-",
        "ld-musl-",
        "libjemalloc",
        "libtcmalloc",
        "libmimalloc",
        "libz.so",
        "libz-ng",
        "libzip.so",
    ];
    let known = |name: &&String| {
        jvm::file_name(name).is_some_and(|file| KNOWN.iter().any(|prefix| file.starts_with(prefix)))
    };
    let found: Vec<String> = names
        .iter()
        .filter(known)
        .map(|name| text::printable(name.as_bytes()))
        .collect();
    if found.is_empty() {
        let remedy = "functions that are linked into the program itself are found by their symbols, where it has any";
        Check::warn("libraries", "no allocator and no zlib by name", remedy)
    } else {
        Check::ok("libraries", found.join(", "))
    }
}

/// `map_files` leads to the very files that are mapped, whatever lies at their paths now.
fn mapped_files(process: &Process) -> Option<Check> {
    let folder = std::fs::read_dir(format!("/proc/{}/map_files", process.pid));
    // A listing that fails is a missing privilege; an empty one says nothing.
    let opened = match folder.map(|mut entries| entries.find_map(Result::ok)) {
        // Follows the link, which is what the kernel restricts, but opens nothing: it may lead to a device.
        Ok(entry) => File::options()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(entry?.path()),
        Err(error) => Err(error),
    };
    Some(match opened {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Check::warn(
            "mapped files",
            "can't be opened directly: libraries that were replaced or deleted on disk are not traced",
            "run offheap as root, with CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN",
        ),
        _ => Check::ok(
            "mapped files",
            "can be opened, also when replaced or deleted",
        ),
    })
}

fn namespaces(process: &Process) -> Option<Check> {
    let spaces = &process.namespaces;
    let mut differences = Vec::new();
    if spaces.other_mount == Some(true) {
        differences.push("files of its own".to_owned());
    }
    if spaces.other_pid == Some(true) {
        differences.push(format!(
            "calls itself {}",
            spaces.innermost_pid(process.pid)
        ));
    }
    if let Some(container) = &process.container {
        differences.push(format!("{} container {}", container.runtime, container.id));
    }
    (!differences.is_empty()).then(|| Check::ok("namespaces", differences.join(", ")))
}
