//! The memory cgroup of the target, version 1 or 2: its files as text are judged by pure functions.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::reading::Cgroup;
use crate::target::process::Process;
use crate::target::{root, text};

/// Most that is read of one file; `memory.stat` has about 2 KiB.
const MAX_FILE: u64 = 64 << 10;
/// Mounts of a container host are many.
const MAX_MOUNTS: u64 = 4 << 20;
/// Cgroups above ours whose limits are looked at.
const MAX_DEPTH: usize = 64;
/// Version 1 says "unlimited" with the largest multiple of a page that fits (`PAGE_COUNTER_MAX`).
const UNLIMITED: u64 = i64::MAX as u64 & !0xffff;

const FILES_V2: [&str; 8] = [
    "memory.current",
    "memory.max",
    "memory.high",
    "memory.stat",
    "memory.events",
    "memory.pressure",
    "memory.swap.current",
    "memory.low",
];
const FILES_V1: [&str; 7] = [
    "memory.usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.stat",
    "memory.failcnt",
    "memory.kmem.usage_in_bytes",
    "memory.oom_control",
    "memory.memsw.failcnt",
];

/// The files of one cgroup, by name.
pub type Files = BTreeMap<&'static str, String>;

/// The files that are read of a version's cgroup.
pub fn names(version: u8) -> &'static [&'static str] {
    if version == 2 { &FILES_V2 } else { &FILES_V1 }
}

/// The cgroup that limits the target's memory; None where none can be read.
pub fn read(process: &Process) -> Option<Cgroup> {
    find(process)?.read(process)
}

/// Where a cgroup is read, so that it can be read again and, on our own mounts, when the process is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    version: u8,
    path: String,
    /// None: only the process's own view shows it.
    mount: Option<Mount>,
}

impl Spot {
    pub fn read(&self, process: &Process) -> Option<Cgroup> {
        match &self.mount {
            Some(mount) => from_host(mount, &self.path, self.version),
            None => from_inside(process, &self.path, self.version),
        }
    }
}

/// Where the memory cgroup of the process can be read.
pub fn find(process: &Process) -> Option<Spot> {
    let membership = bounded(process.open_file("cgroup").ok()?, MAX_FILE)?;
    let mounts = bounded(File::open("/proc/self/mountinfo").ok()?, MAX_MOUNTS)?;
    for version in [2, 1] {
        let Some(path) = path_of(&membership, version) else {
            continue;
        };
        let ours = mounts_of(&mounts, version).into_iter().map(Some);
        let found = ours.chain([None]).find_map(|mount| {
            let spot = Spot {
                version,
                path: path.to_owned(),
                mount,
            };
            spot.read(process).map(|_| spot)
        });
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The path of the memory cgroup in `/proc/PID/cgroup`.
pub fn path_of(membership: &str, version: u8) -> Option<&str> {
    membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = match version {
            2 => number == "0" && controllers.is_empty(),
            _ => controllers.split(',').any(|name| name == "memory"),
        };
        fits.then_some(path)
    })
}

/// Where cgroups are mounted, and which cgroup is at the root of that mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub root: String,
    pub point: PathBuf,
}

/// The mounts in a `mountinfo` that show memory cgroups of a version.
pub fn mounts_of(mountinfo: &str, version: u8) -> Vec<Mount> {
    let mount = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1)?);
        let fits = match version {
            2 => name == "cgroup2",
            _ => name == "cgroup" && options.split(',').any(|option| option == "memory"),
        };
        let mut words = mount.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        fits.then(|| Mount {
            root: root.to_owned(),
            point: PathBuf::from(point),
        })
    };
    mountinfo.lines().filter_map(mount).collect()
}

fn from_host(mount: &Mount, path: &str, version: u8) -> Option<Cgroup> {
    // A path with `..` is outside of our cgroup namespace.
    let below = path.strip_prefix(mount.root.trim_end_matches('/'))?;
    if below.split('/').any(|part| part == "..") {
        return None;
    }
    let folder = mount.point.join(below.trim_start_matches('/'));
    let open = |folder: &Path, name: &str| File::open(folder.join(name)).ok();
    let mut found = judge(version, &files(&folder, version, &open))?;
    lower_limits(&mut found, &folder, &mount.point, version);
    found.path = text::printable(path.as_bytes());
    Some(found)
}

/// A limit may be set on any cgroup above.
fn lower_limits(found: &mut Cgroup, folder: &Path, top: &Path, version: u8) {
    let name = if version == 2 {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    let above = folder.ancestors().skip(1).take(MAX_DEPTH);
    for folder in above.take_while(|folder| folder.starts_with(top)) {
        let limit = File::open(folder.join(name))
            .ok()
            .and_then(|file| bounded(file, MAX_FILE));
        if let Some(limit) = limit.and_then(|text| limit_of(&text)) {
            found.limit = Some(found.limit.map_or(limit, |lower| lower.min(limit)));
        }
    }
}

/// As a container sees its own cgroup: at the top of what is mounted in its root.
fn from_inside(process: &Process, path: &str, version: u8) -> Option<Cgroup> {
    let top = root::of(process.directory()).ok()?;
    let open = |folder: &Path, name: &str| root::open_plain_in(&top, &folder.join(name)).ok();
    let folders = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"];
    let mut found = folders
        .iter()
        .find_map(|folder| judge(version, &files(Path::new(folder), version, &open)))?;
    found.path = text::printable(path.as_bytes());
    found.inside = true;
    Some(found)
}

fn files(folder: &Path, version: u8, open: &dyn Fn(&Path, &str) -> Option<File>) -> Files {
    let names = names(version);
    let text = |name: &&'static str| Some((*name, bounded(open(folder, name)?, MAX_FILE)?));
    names.iter().filter_map(text).collect()
}

fn bounded(file: File, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the files of a cgroup say; None where they say nothing about memory.
pub fn judge(version: u8, files: &Files) -> Option<Cgroup> {
    match version {
        2 => version_2(files),
        _ => version_1(files),
    }
}

fn version_2(files: &Files) -> Option<Cgroup> {
    let number = |name: &str| files.get(name).and_then(|text| limit_of(text));
    let stat = |key: &str| entry(files.get("memory.stat")?, key);
    let event = |key: &str| entry(files.get("memory.events")?, key);
    let shared = stat("shmem");
    let found = Cgroup {
        version: 2,
        usage: number("memory.current"),
        limit: number("memory.max"),
        high: number("memory.high"),
        anonymous: stat("anon"),
        file: stat("file").map(|file| file.saturating_sub(shared.unwrap_or(0))),
        inactive_file: stat("inactive_file"),
        shared,
        // Since 5.18; before, its parts.
        kernel: stat("kernel").or_else(|| {
            let parts = ["kernel_stack", "pagetables", "percpu", "slab", "sock"].map(stat);
            parts
                .iter()
                .any(Option::is_some)
                .then(|| parts.into_iter().flatten().fold(0, u64::saturating_add))
        }),
        swap: number("memory.swap.current"),
        pressure: files.get("memory.pressure").and_then(|text| pressure(text)),
        limit_hits: event("max"),
        oom_kills: event("oom_kill"),
        ..Cgroup::default()
    };
    (found.usage.is_some() || found.anonymous.is_some()).then_some(found)
}

fn version_1(files: &Files) -> Option<Cgroup> {
    let number = |name: &str| files.get(name).and_then(|text| limit_of(text));
    // With the cgroups below it; `cache` has shared memory in it, `rss` is anonymous memory.
    let stat = |key: &str| entry(files.get("memory.stat")?, key);
    let shared = stat("total_shmem");
    let limits = [
        number("memory.limit_in_bytes"),
        stat("hierarchical_memory_limit").filter(|&limit| limit < UNLIMITED),
    ];
    let found = Cgroup {
        version: 1,
        usage: number("memory.usage_in_bytes"),
        limit: limits.into_iter().flatten().min(),
        anonymous: stat("total_rss"),
        file: stat("total_cache").map(|cache| cache.saturating_sub(shared.unwrap_or(0))),
        inactive_file: stat("total_inactive_file"),
        shared,
        kernel: number("memory.kmem.usage_in_bytes"),
        swap: stat("total_swap"),
        // Where memory and swap together have the same limit, as in a container without swap, it is theirs that is hit.
        limit_hits: number("memory.failcnt")
            .map(|hits| hits.saturating_add(number("memory.memsw.failcnt").unwrap_or(0))),
        oom_kills: files
            .get("memory.oom_control")
            .and_then(|text| entry(text, "oom_kill")),
        ..Cgroup::default()
    };
    (found.usage.is_some() || found.anonymous.is_some()).then_some(found)
}

/// `max`, or the largest number of version 1, is no limit.
fn limit_of(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&limit| limit < UNLIMITED)
}

/// The number behind a key at the beginning of a line.
fn entry(text: &str, key: &str) -> Option<u64> {
    let value = |line: &str| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(value)
}

/// `some avg10=0.12 avg60=…`
fn pressure(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let word = line
        .split(' ')
        .find_map(|word| word.strip_prefix("avg10="))?;
    word.parse()
        .ok()
        .filter(|share: &f64| share.is_finite() && *share >= 0.0)
}

#[cfg(test)]
mod tests;
