//! Memory cgroups of our own, of version 1 or 2, with a limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const TOP: &str = "/sys/fs/cgroup";

/// A cgroup; removed when dropped, when all its processes have ended.
pub struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Group {
    /// A new group that may have `limit` bytes; None where none can be made.
    pub fn new(limit: u64) -> Option<Group> {
        let (parents, version) = parents()?;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("offheap-test-{}-{number}", std::process::id());
        let mut folders = parents.iter().map(|parent| parent.join(&name));
        let folder = folders.find(|folder| fs::create_dir(folder).is_ok())?;
        let group = Group { folder, version };
        let file = match version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        fs::write(group.folder.join(file), limit.to_string()).ok()?;
        // What is swapped out would not be killed; the file is not there where nothing can be.
        let _ = fs::write(group.folder.join("memory.swap.max"), "0");
        Some(group)
    }

    /// Moves a process into the group; what it has by then stays another's.
    ///
    /// # Panics
    /// The process is not there.
    pub fn add(&self, pid: u32) {
        fs::write(self.procs(), pid.to_string()).expect("a process joins the group");
    }

    /// `command`, which joins the group before it begins.
    pub fn command(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        shell.arg(self.procs()).arg(command.get_program());
        shell.args(command.get_args());
        shell
    }

    /// Page cache, shared memory included, by the kernel's own count.
    pub fn cache(&self) -> Option<u64> {
        let name = match self.version {
            Version::One => "cache",
            Version::Two => "file",
        };
        let text = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line?.trim().parse().ok()
    }

    fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

/// Where a group may be made: below our own, else at the top.
fn parents() -> Option<(Vec<PathBuf>, Version)> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let of_memory = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let has_memory = controllers.split(',').any(|name| name == "memory");
        has_memory.then(|| path.trim_start_matches('/').to_owned())
    };
    if let Some(own) = membership.lines().find_map(of_memory) {
        let top = Path::new(TOP).join("memory");
        return Some((vec![top.join(own), top], Version::One));
    }
    let top = Path::new(TOP);
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).ok()?;
    if !controllers.split_whitespace().any(|name| name == "memory") {
        return None;
    }
    // Groups with processes can't have groups with limits below them: only the top may have both.
    let _ = fs::write(top.join("cgroup.subtree_control"), "+memory");
    Some((vec![top.to_owned()], Version::Two))
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
