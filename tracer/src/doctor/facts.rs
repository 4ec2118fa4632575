//! What the kernel says about itself and about us.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::feature::{self, Tried};
use super::privileges::Privileges;
use crate::target::namespaces::{self, INITIAL_PID};

/// Everything that the judgements about kernel and privileges are made from.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `uname -r`.
    pub release: String,
    pub btf: bool,
    /// Type number of the uprobe PMU. None: the kernel has no uprobes for perf.
    pub uprobe_pmu: Option<u32>,
    /// Where tracefs is mounted.
    pub tracefs: Option<PathBuf>,
    pub ring_buffer: Tried,
    pub attach_cookie: Tried,
    /// The active mode of the lockdown LSM: `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// `net.core.bpf_jit_enable`. None: can't be read.
    pub jit: Option<u32>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// We see the host's processes under the numbers that the kernel uses. None: it can't be told.
    pub initial_pid_namespace: Option<bool>,
    pub privileges: Privileges,
}

impl Facts {
    /// Reads a dozen small files and tries two calls of bpf(2); attaches nothing.
    pub fn read() -> Facts {
        Facts {
            release: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            uprobe_pmu: number("/sys/bus/event_source/devices/uprobe/type"),
            tracefs: tracefs(),
            ring_buffer: feature::ring_buffer(),
            attach_cookie: feature::attach_cookie(),
            lockdown: text("/sys/kernel/security/lockdown").and_then(|modes| active_mode(&modes)),
            jit: number("/proc/sys/net/core/bpf_jit_enable"),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            initial_pid_namespace: namespaces::inode("self", "pid")
                .ok()
                .map(|inode| inode == INITIAL_PID),
            privileges: Privileges::read(),
        }
    }
}

fn text(file: &str) -> Option<String> {
    fs::read_to_string(file)
        .ok()
        .map(|text| text.trim().to_owned())
}

fn number<T: FromStr>(file: &str) -> Option<T> {
    text(file)?.parse().ok()
}

/// A mounted tracefs has files; its mount point alone has none.
fn tracefs() -> Option<PathBuf> {
    let mut places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .map(PathBuf::from);
    places.find(|place| place.join("uprobe_events").exists())
}

/// `none [integrity] confidentiality` has its active mode in brackets.
fn active_mode(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The active lockdown mode is the bracketed one.
    #[test]
    fn lockdown() {
        assert_eq!(
            active_mode("none [integrity] confidentiality").as_deref(),
            Some("integrity")
        );
        assert_eq!(active_mode("none integrity"), None);
    }
}
