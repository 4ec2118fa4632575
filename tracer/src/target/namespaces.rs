//! Where the target's view of files and pids differs from ours.

use std::{fs, io};

use procfs::process::Status;

use super::Pid;

/// Inode of the first pid namespace: `PROC_PID_INIT_INO` in include/linux/proc_ns.h, unchanged since Linux 3.8.
pub const INITIAL_PID: u64 = 0xEFFF_FFFC;
/// Inode of the first user namespace: `PROC_USER_INIT_INO`.
pub const INITIAL_USER: u64 = 0xEFFF_FFFD;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// The target sees other files under the same paths. None: it can't be told.
    pub other_mount: Option<bool>,
    /// The target numbers processes in another way. None: it can't be told.
    pub other_pid: Option<bool>,
    /// The target's pid in each pid namespace from ours inwards; the last one is what the target calls itself.
    pub pids: Vec<u32>,
}

impl Namespaces {
    pub(super) fn of(pid: Pid, status: &Status) -> Namespaces {
        let differs = |name: &str| {
            let (theirs, ours) = (inode(&pid.to_string(), name), inode("self", name));
            theirs
                .ok()
                .zip(ours.ok())
                .map(|(theirs, ours)| theirs != ours)
        };
        let pids = status
            .nspid
            .iter()
            .flatten()
            .map(|id| id.unsigned_abs())
            .collect();
        Namespaces {
            other_mount: differs("mnt"),
            other_pid: differs("pid"),
            pids,
        }
    }

    /// What the target calls itself, for files such as `/tmp/perf-1.map`.
    pub fn innermost_pid(&self, pid: Pid) -> Pid {
        self.pids.last().map_or(pid, |inner| Pid(*inner))
    }
}

/// The number that names a namespace (`pid`, `mnt`, `user` …) of `self` or of a pid.
///
/// # Errors
/// Of the kernel, or when the link has another form than `pid:[4026531836]`.
pub fn inode(process: &str, namespace: &str) -> io::Result<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/{namespace}"))?;
    let number = link
        .to_str()
        .and_then(|text| text.split_once(":[")?.1.strip_suffix(']'));
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| io::Error::other("not a namespace link"))
}
