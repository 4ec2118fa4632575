//! Judges the kernel and its settings.

use super::check::{Check, Level};
use super::facts::Facts;
use super::feature::{self, Errno, Failed, Tried};
use super::privileges::{BPF, PERFMON, REMEDY, SYS_ADMIN};
use crate::probes::{LinkKind, Trial};

/// The oldest kernel that is supported, for what a trial can't tell.
const OLDEST: (u32, u32) = (5, 15);

/// One row per requirement.
pub fn checks(facts: &Facts) -> Vec<Check> {
    [
        Some(release(facts)),
        Some(uprobes(facts)),
        Some(tracefs(facts)),
        Some(trial("ring buffer", &facts.ring_buffer, facts)),
        Some(trial("attach cookie", &facts.attach_cookie, facts)),
        Some(btf(facts)),
        jit(facts),
        lockdown(facts),
        paranoid(facts),
        pid_namespace(facts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Distributions back-port: the number only warns, the trials decide.
fn release(facts: &Facts) -> Check {
    let mut numbers = facts
        .release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Check::warn(
            "kernel",
            format!(
                "{} is older than 5.15, the oldest that is supported",
                facts.release
            ),
            "trust the checks below; without them, upgrade",
        ),
        _ => Check::ok("kernel", facts.release.as_str()),
    }
}

fn uprobes(facts: &Facts) -> Check {
    match facts.uprobe_pmu {
        Some(number) => Check::ok("uprobes", format!("perf PMU type {number}")),
        None => Check::fail(
            "uprobes",
            "no /sys/bus/event_source/devices/uprobe",
            "use a kernel built with CONFIG_UPROBE_EVENTS; in a container, mount /sys",
        ),
    }
}

fn tracefs(facts: &Facts) -> Check {
    match &facts.tracefs {
        Some(place) => Check::ok("tracefs", format!("{}, not needed", place.display())),
        None => Check::ok("tracefs", "not mounted, and not needed"),
    }
}

fn trial(name: &'static str, tried: &Tried, facts: &Facts) -> Check {
    let privileges = facts.privileges;
    match tried {
        Ok(()) => Check::ok(name, "works"),
        Err(Errno(libc::EPERM)) if !privileges.has_all_required() => Check::warn(
            name,
            format!("can't be tried without {} and {}", BPF.name, PERFMON.name),
            "",
        ),
        Err(errno @ Errno(libc::EPERM | libc::EACCES | libc::ENOSYS)) if privileges.seccomp => {
            Check::fail(
                name,
                format!("{errno}, and system calls are filtered (seccomp)"),
                "allow bpf and perf_event_open in the container's seccomp profile, or run on the host",
            )
        }
        Err(errno @ Errno(libc::EPERM | libc::EACCES)) => Check::fail(
            name,
            format!("{errno}, although the capabilities are held"),
            "look into lockdown and the security modules (SELinux, AppArmor, BPF LSM)",
        ),
        Err(errno @ Errno(libc::EINVAL)) => Check::fail(
            name,
            format!("not known to this kernel ({errno})"),
            "use Linux 5.15 or newer",
        ),
        Err(errno) => Check::fail(
            name,
            format!("bpf(2) failed: {errno}"),
            "use a kernel built with CONFIG_BPF_SYSCALL",
        ),
    }
}

/// Whether a uprobe can be attached, by the kind of link that will be used. A kernel may give perf links to CAP_SYS_ADMIN
/// alone, and uprobe_multi links to CAP_PERFMON (6.18, tried).
pub fn attaching(facts: &Facts, links: LinkKind) -> Check {
    let trial = try_uprobe(facts);
    match links {
        LinkKind::Multi | LinkKind::Session if trial.level == Level::Fail => Check::ok(
            UPROBE_TRIAL,
            "perf links are not allowed; uprobe_multi links, which are used, are",
        ),
        _ => trial,
    }
}

/// Whether the kernel's verifier takes our programs, and how they will be attached.
pub fn programs(trial: anyhow::Result<Trial>) -> Check {
    const NAME: &str = "programs";
    match trial {
        Ok(trial) => match trial.refused.first() {
            None => Check::ok(
                NAME,
                format!("all {} taken; {}", trial.taken, how(trial.links)),
            ),
            Some(error) => Check::fail(
                NAME,
                format!("{} of them: {}", trial.refused.len(), first_line(error)),
                "report this with the kernel's release and what `offheap capture -v` says",
            ),
        },
        Err(error) => Check::fail(NAME, first_line(&error), "look at the checks above"),
    }
}

fn how(links: LinkKind) -> String {
    let since = match links {
        LinkKind::Session => return format!("attached by {links} links"),
        LinkKind::Multi => "returns are cheaper since Linux 6.13",
        LinkKind::Perf => {
            "detaching is faster since Linux 6.10, and returns are cheaper since 6.13"
        }
    };
    format!("attached by {links} links ({since})")
}

fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

/// Tries a perf link on ourselves, where anything can come of it.
pub fn try_uprobe(facts: &Facts) -> Check {
    match facts.uprobe_pmu {
        None => Check::warn(UPROBE_TRIAL, "not tried: there is no uprobe PMU", ""),
        Some(_) if !facts.privileges.has_all_required() => {
            Check::warn(UPROBE_TRIAL, "not tried: capabilities are missing", "")
        }
        Some(pmu) => uprobe_trial(feature::uprobe(pmu), facts),
    }
}

pub(super) const UPROBE_TRIAL: &str = "uprobe trial";

/// CAP_PERFMON is not enough for uprobes on every kernel: 6.18 asks for CAP_SYS_ADMIN (tried).
pub(super) fn uprobe_trial(tried: Result<(), Failed>, facts: &Facts) -> Check {
    match tried {
        Ok(()) => Check::ok(
            UPROBE_TRIAL,
            "attached to offheap itself, with a cookie, and detached",
        ),
        Err(Failed {
            errno: Errno(libc::EPERM | libc::EACCES),
            ..
        }) if !facts.privileges.has(SYS_ADMIN) => Check::fail(
            UPROBE_TRIAL,
            "this kernel attaches uprobes only with CAP_SYS_ADMIN, which is missing",
            REMEDY,
        ),
        Err(Failed { call, errno }) => Check::fail(
            UPROBE_TRIAL,
            format!("{call} failed: {errno}"),
            "look for the reason in the kernel log (dmesg); a seccomp filter or a security module may forbid it",
        ),
    }
}

/// The programs find out from it how much of a stack is used; without, they copy up to the cap.
fn btf(facts: &Facts) -> Check {
    if facts.btf {
        Check::ok("BTF", "/sys/kernel/btf/vmlinux")
    } else {
        Check::warn(
            "BTF",
            "no /sys/kernel/btf/vmlinux: tracing works, but copies more of each stack than is used",
            "a kernel with CONFIG_DEBUG_INFO_BTF",
        )
    }
}

fn jit(facts: &Facts) -> Option<Check> {
    Some(match facts.jit? {
        0 => Check::warn(
            "BPF JIT",
            "off: each probe costs the target several times more",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        _ => Check::ok("BPF JIT", "on"),
    })
}

fn lockdown(facts: &Facts) -> Option<Check> {
    Some(match facts.lockdown.as_deref()? {
        "confidentiality" => Check::fail(
            "lockdown",
            "confidentiality: the kernel lets no program read memory",
            "boot with lockdown=integrity or without lockdown",
        ),
        mode => Check::ok("lockdown", mode),
    })
}

fn paranoid(facts: &Facts) -> Option<Check> {
    let level = facts.perf_event_paranoid?;
    let meaning = if facts.privileges.has(PERFMON) {
        "no matter with CAP_PERFMON"
    } else {
        "CAP_PERFMON is needed"
    };
    Some(Check::ok(
        "perf_event_paranoid",
        format!("{level}, {meaning}"),
    ))
}

fn pid_namespace(facts: &Facts) -> Option<Check> {
    Some(match facts.initial_pid_namespace? {
        true => Check::ok("pid namespace", "the host's"),
        false => Check::fail(
            "pid namespace",
            "offheap runs in a container, where pids are not those of the kernel",
            "run it on the host, or start the container with --pid=host",
        ),
    })
}
