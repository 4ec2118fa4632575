//! What we are allowed to do.

use std::fs;

use super::check::Check;
use super::facts::Facts;
use crate::exit::Refusal;
use crate::target::namespaces::{self, INITIAL_USER};

/// A capability, by its bit in include/uapi/linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    pub name: &'static str,
    bit: u32,
    /// What offheap does with it.
    pub purpose: &'static str,
}

pub const BPF: Capability = Capability {
    name: "CAP_BPF",
    bit: 39,
    purpose: "to load the probes",
};
pub const PERFMON: Capability = Capability {
    name: "CAP_PERFMON",
    bit: 38,
    purpose: "to attach uprobes",
};
pub const SYS_ADMIN: Capability = Capability {
    name: "CAP_SYS_ADMIN",
    bit: 21,
    purpose: "on kernels that attach uprobes for nobody else",
};
pub const SYS_PTRACE: Capability = Capability {
    name: "CAP_SYS_PTRACE",
    bit: 19,
    purpose: "to read the memory of processes of other users",
};
pub const CHECKPOINT_RESTORE: Capability = Capability {
    name: "CAP_CHECKPOINT_RESTORE",
    bit: 40,
    purpose: "to open libraries that were replaced or deleted on disk",
};

pub(super) const REMEDY: &str =
    "run offheap as root, with sudo; in a container, add the capability or --privileged";

/// What the kernel lets this process do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// `CapEff` of /proc/self/status.
    pub effective: u64,
    /// Capabilities of another user namespace than the first count for nothing here. None: it can't be told.
    pub initial_user_namespace: Option<bool>,
    /// System calls are filtered.
    pub seccomp: bool,
}

impl Privileges {
    pub fn read() -> Privileges {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let initial = namespaces::inode("self", "user")
            .ok()
            .map(|inode| inode == INITIAL_USER);
        Privileges::parse(&status, initial)
    }

    fn parse(status: &str, initial_user_namespace: Option<bool>) -> Privileges {
        let value = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        Privileges {
            effective: value("CapEff:")
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                .unwrap_or_default(),
            initial_user_namespace,
            seccomp: value("Seccomp:").is_some_and(|mode| mode != "0"),
        }
    }

    /// CAP_SYS_ADMIN includes the capabilities that were split off from it: CAP_PERFMON and CAP_BPF in Linux 5.8,
    /// CAP_CHECKPOINT_RESTORE in 5.9.
    pub fn has(self, capability: Capability) -> bool {
        let bits = match capability {
            SYS_PTRACE => 1 << SYS_PTRACE.bit,
            other => 1 << other.bit | 1 << SYS_ADMIN.bit,
        };
        self.effective & bits != 0
    }

    /// Everything without which no probe can be made.
    pub fn has_all_required(self) -> bool {
        self.missing().is_empty() && self.initial_user_namespace != Some(false)
    }

    fn missing(self) -> Vec<&'static str> {
        [BPF, PERFMON]
            .into_iter()
            .filter(|needed| !self.has(*needed))
            .map(|needed| needed.name)
            .collect()
    }
}

/// One row per capability, and the namespace in which they count.
pub fn checks(facts: &Facts) -> Vec<Check> {
    let privileges = facts.privileges;
    let mut checks = vec![
        capability(privileges, BPF, Check::fail),
        capability(privileges, PERFMON, Check::fail),
        // What is missing without this one depends on the target, whose own checks try it.
        capability(privileges, SYS_PTRACE, Check::warn),
        capability(privileges, CHECKPOINT_RESTORE, Check::warn),
    ];
    if privileges.initial_user_namespace == Some(false) {
        let remedy = "run it on the host, or in a container of root's (not rootless)";
        checks.push(Check::fail(
            "user namespace",
            "not the first one: capabilities don't count for tracing",
            remedy,
        ));
    }
    checks
}

type Judge = fn(&'static str, String, String) -> Check;

fn capability(privileges: Privileges, needed: Capability, judge: Judge) -> Check {
    if privileges.has(needed) {
        Check::ok(needed.name, "held")
    } else {
        judge(
            needed.name,
            format!("missing: needed {}", needed.purpose),
            REMEDY.to_owned(),
        )
    }
}

/// # Errors
/// Names all capabilities that are missing at once.
pub fn require(facts: &Facts) -> Result<(), Refusal> {
    let missing = facts.privileges.missing();
    if !missing.is_empty() {
        return Err(Refusal::Privileges {
            missing: missing.join(" and "),
            remedy: REMEDY.to_owned(),
        });
    }
    match checks(facts)
        .into_iter()
        .find(|check| check.name == "user namespace")
    {
        Some(check) => Err(Refusal::Unsupported {
            what: format!("{}: {}", check.name, check.found),
            remedy: check.remedy,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(effective: u64) -> Privileges {
        Privileges {
            effective,
            initial_user_namespace: Some(true),
            seccomp: false,
        }
    }

    /// The kernel's own form is read; a status without the lines means no privileges at all.
    #[test]
    fn parse() {
        let status = "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t2\n";
        let read = Privileges::parse(status, Some(true));
        assert_eq!(
            read,
            Privileges {
                effective: 0x1ff_ffff_ffff,
                initial_user_namespace: Some(true),
                seccomp: true
            }
        );
        assert_eq!(Privileges::parse("", None).effective, 0);
    }

    /// CAP_SYS_ADMIN stands for what was split off from it, and for nothing else.
    #[test]
    fn sys_admin_includes() {
        let admin = with(1 << SYS_ADMIN.bit);
        assert!(admin.has_all_required() && admin.has(CHECKPOINT_RESTORE));
        assert!(!admin.has(SYS_PTRACE));
        assert!(with(1 << 38 | 1 << 39).has_all_required());
        assert_eq!(with(1 << 39).missing(), ["CAP_PERFMON"]);
        assert_eq!(with(0).missing(), ["CAP_BPF", "CAP_PERFMON"]);
    }

    /// In a user namespace of its own root's full set counts for nothing.
    #[test]
    fn user_namespace() {
        let rootless = Privileges {
            initial_user_namespace: Some(false),
            ..with(u64::MAX)
        };
        assert!(!rootless.has_all_required());
    }
}
