//! Threads by name, stacks that threads are on, and descriptors by kind.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read as _};

use super::reading::{Descriptors, Pattern, Threads};
use crate::target::Tid;
use crate::target::process::Process;
use crate::target::text;

/// Patterns that are kept; the rest is counted under `OTHERS`.
pub const MAX_PATTERNS: usize = 64;
const OTHERS: &str = "(others)";
/// Threads whose names and stacks are looked at.
pub const MAX_THREADS: usize = 1 << 16;
/// Descriptors whose kind is looked at: a microsecond each.
const MAX_DESCRIPTORS: usize = 1 << 17;

/// The threads by masked name.
///
/// # Errors
/// When the process has ended.
pub fn threads(process: &Process) -> io::Result<(Threads, Vec<Tid>)> {
    let mut tids = process.threads()?;
    let count = tids.len() as u64;
    tids.truncate(MAX_THREADS);
    let names = tids.iter().filter_map(|&tid| process.thread_comm(tid).ok());
    Ok((
        Threads {
            count,
            patterns: patterns(names),
        },
        tids,
    ))
}

/// Counts names that differ in their digits only, the most frequent first.
pub fn patterns(names: impl Iterator<Item = String>) -> Vec<Pattern> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for name in names {
        *counts.entry(masked(&name)).or_default() += 1;
    }
    let mut patterns: Vec<Pattern> = counts
        .into_iter()
        .map(|(name, count)| Pattern { name, count })
        .collect();
    patterns.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    let rest: u64 = patterns
        .iter()
        .skip(MAX_PATTERNS)
        .map(|pattern| pattern.count)
        .sum();
    patterns.truncate(MAX_PATTERNS);
    if rest > 0 {
        patterns.push(Pattern {
            name: OTHERS.to_owned(),
            count: rest,
        });
    }
    patterns
}

/// Each run of digits is one `#`.
fn masked(name: &str) -> String {
    let mut masked = String::with_capacity(name.len());
    for c in name.chars() {
        match c.is_ascii_digit() {
            true if masked.ends_with('#') => {}
            true => masked.push('#'),
            false => masked.push(c),
        }
    }
    masked
}

/// The stack pointer of a thread that waits in the kernel; None for one that runs, and where we may not look.
pub fn stack_pointer(process: &Process, tid: Tid) -> Option<u64> {
    let mut line = String::new();
    let file = process.open_file(format!("task/{tid}/syscall")).ok()?;
    file.take(512).read_to_string(&mut line).ok()?;
    parse_stack_pointer(&line)
}

/// `202 0x… (six arguments) SP PC`, `-1 SP PC`, or `running`.
fn parse_stack_pointer(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.len().checked_sub(2).filter(|&at| at >= 1)?;
    u64::from_str_radix(words[at].strip_prefix("0x")?, 16)
        .ok()
        .filter(|&sp| sp != 0)
}

/// Open descriptors; None where they can't be listed.
pub fn descriptors(process: &Process) -> Option<Descriptors> {
    let folder = format!("/proc/{}/fd", process.pid);
    let mut found = Descriptors::default();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        found.count += 1;
        if found.count as usize > MAX_DESCRIPTORS {
            found.truncated = true;
            continue;
        }
        // One that was closed meanwhile has no target any more.
        let kind =
            fs::read_link(entry.path()).map_or("closed", |target| kind(&target.to_string_lossy()));
        *found.kinds.entry(kind.to_owned()).or_default() += 1;
    }
    // Still alive after the listing by number: it was the listing of this process.
    if process.ended() {
        return None;
    }
    found.limit = limit(process);
    Some(found)
}

fn kind(target: &str) -> &'static str {
    const KINDS: [(&str, &str); 12] = [
        ("socket:", "sockets"),
        ("pipe:", "pipes"),
        ("anon_inode:[eventpoll]", "epoll"),
        ("anon_inode:[eventfd", "eventfd"),
        ("anon_inode:[timerfd", "timerfd"),
        ("anon_inode:inotify", "inotify"),
        ("anon_inode:[io_uring]", "io_uring"),
        ("anon_inode:", "other kernel objects"),
        ("/memfd:", "memfd"),
        ("/dev/", "devices"),
        ("/proc/", "proc and sys"),
        ("/sys/", "proc and sys"),
    ];
    match KINDS.iter().find(|(prefix, _)| target.starts_with(prefix)) {
        Some((_, kind)) => kind,
        None if target.ends_with(" (deleted)") => "deleted files",
        None if target.starts_with('/') => "files",
        None => "others",
    }
}

fn limit(process: &Process) -> Option<u64> {
    let mut limits = String::new();
    process
        .open_file("limits")
        .ok()?
        .take(16 << 10)
        .read_to_string(&mut limits)
        .ok()?;
    let rest = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Variables that change how much memory an allocator or a JVM takes.
const VARIABLES: [&str; 11] = [
    "MALLOC_ARENA_MAX",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_CONF",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "TCMALLOC_RELEASE_RATE",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
];

/// Those variables that the target was started with, fit for printing.
pub fn environment(process: &Process) -> BTreeMap<String, String> {
    let mut bytes = Vec::new();
    let Ok(file) = process.open_file("environ") else {
        return BTreeMap::new();
    };
    if file.take(1 << 20).read_to_end(&mut bytes).is_err() {
        return BTreeMap::new();
    }
    let variable = |entry: &[u8]| {
        let at = entry.iter().position(|&byte| byte == b'=')?;
        let name = VARIABLES
            .iter()
            .find(|name| name.as_bytes() == &entry[..at])?;
        Some(((*name).to_owned(), text::printable(&entry[at + 1..])))
    };
    bytes
        .split(|&byte| byte == 0)
        .filter_map(variable)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that differ in their numbers are one pattern, and what does not fit is counted.
    #[test]
    fn masks() {
        let names = (0..200).map(|n| format!("pool-{n}-thread-{}", n * 7));
        assert_eq!(
            patterns(names),
            [Pattern {
                name: "pool-#-thread-#".to_owned(),
                count: 200
            }]
        );
        let many = (0..100_u8).map(|n| "x".repeat(usize::from(n) + 1));
        let found = patterns(many);
        assert_eq!(found.len(), MAX_PATTERNS + 1);
        assert_eq!(found.iter().map(|pattern| pattern.count).sum::<u64>(), 100);
    }

    /// The stack pointer is the last but one word of a waiting thread's line.
    #[test]
    fn stack_pointers() {
        let waiting = "202 0x7f0 0x80 0x0 0x0 0x0 0xffffffff 0x7ffc1000 0x7f0011223344\n";
        assert_eq!(parse_stack_pointer(waiting), Some(0x7ffc_1000));
        assert_eq!(
            parse_stack_pointer("-1 0x7ffc2000 0x7f00"),
            Some(0x7ffc_2000)
        );
        for other in ["running", "", "0x1", "-1 0x0 0x0", "1 x y"] {
            assert_eq!(parse_stack_pointer(other), None, "{other}");
        }
    }

    /// Each kind of descriptor is told by what the kernel calls it.
    #[test]
    fn kinds() {
        for (target, expected) in [
            ("socket:[123]", "sockets"),
            ("anon_inode:[eventpoll]", "epoll"),
            ("pipe:[7]", "pipes"),
            ("/var/log/x (deleted)", "deleted files"),
            ("/memfd:heap (deleted)", "memfd"),
            ("/etc/passwd", "files"),
            ("anon_inode:[pidfd]", "other kernel objects"),
            ("", "others"),
        ] {
            assert_eq!(kind(target), expected, "{target}");
        }
    }
}
