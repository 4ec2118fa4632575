use super::*;
use crate::doctor::feature::{Errno, Failed};
use crate::doctor::privileges::Privileges;
use crate::probes::Trial;

/// A kernel and privileges with nothing to complain about.
fn good() -> Facts {
    Facts {
        release: "6.1.0-18-amd64".to_owned(),
        btf: true,
        uprobe_pmu: Some(9),
        tracefs: None,
        ring_buffer: Ok(()),
        attach_cookie: Ok(()),
        lockdown: Some("none".to_owned()),
        jit: Some(1),
        perf_event_paranoid: Some(4),
        initial_pid_namespace: Some(true),
        privileges: Privileges {
            effective: u64::MAX,
            initial_user_namespace: Some(true),
            seccomp: false,
        },
    }
}

fn all_checks(facts: &Facts) -> Vec<Check> {
    [kernel::checks(facts), privileges::checks(facts)].concat()
}

fn level(facts: &Facts, name: &str) -> Level {
    all_checks(facts)
        .into_iter()
        .find(|check| check.name == name)
        .unwrap()
        .level
}

/// A good machine passes everything; what is not mounted and not needed is no complaint.
#[test]
fn good_machine() {
    assert!(
        all_checks(&good())
            .iter()
            .all(|check| check.level == Level::Ok)
    );
    assert!(privileges::require(&good()).is_ok());
}

/// Each missing requirement fails its own row, and each row that is not ok but for want of rights has a remedy.
#[test]
fn each_failure() {
    let no_rights = Privileges {
        effective: 0,
        ..good().privileges
    };
    let rootless = Privileges {
        initial_user_namespace: Some(false),
        ..good().privileges
    };
    for (facts, name, expected) in [
        (
            Facts {
                uprobe_pmu: None,
                ..good()
            },
            "uprobes",
            Level::Fail,
        ),
        (
            Facts {
                ring_buffer: Err(Errno(libc::EINVAL)),
                ..good()
            },
            "ring buffer",
            Level::Fail,
        ),
        (
            Facts {
                ring_buffer: Err(Errno(libc::ENOSYS)),
                ..good()
            },
            "ring buffer",
            Level::Fail,
        ),
        (
            Facts {
                attach_cookie: Err(Errno(libc::EINVAL)),
                ..good()
            },
            "attach cookie",
            Level::Fail,
        ),
        (
            Facts {
                attach_cookie: Err(Errno(libc::EPERM)),
                ..good()
            },
            "attach cookie",
            Level::Fail,
        ),
        (
            Facts {
                lockdown: Some("confidentiality".to_owned()),
                ..good()
            },
            "lockdown",
            Level::Fail,
        ),
        (
            Facts {
                initial_pid_namespace: Some(false),
                ..good()
            },
            "pid namespace",
            Level::Fail,
        ),
        (
            Facts {
                privileges: no_rights,
                ..good()
            },
            "CAP_BPF",
            Level::Fail,
        ),
        (
            Facts {
                privileges: no_rights,
                ..good()
            },
            "CAP_PERFMON",
            Level::Fail,
        ),
        (
            Facts {
                privileges: no_rights,
                ..good()
            },
            "CAP_SYS_PTRACE",
            Level::Warn,
        ),
        (
            Facts {
                privileges: rootless,
                ..good()
            },
            "user namespace",
            Level::Fail,
        ),
        (
            Facts {
                release: "5.10.0-28-amd64".to_owned(),
                ..good()
            },
            "kernel",
            Level::Warn,
        ),
        (
            Facts {
                jit: Some(0),
                ..good()
            },
            "BPF JIT",
            Level::Warn,
        ),
        (
            Facts {
                btf: false,
                ..good()
            },
            "BTF",
            Level::Warn,
        ),
    ] {
        assert_eq!(level(&facts, name), expected, "{name}");
        for check in all_checks(&facts)
            .iter()
            .filter(|check| check.level == Level::Fail)
        {
            assert!(!check.remedy.is_empty(), "{name}: no remedy");
        }
    }
}

/// Without the rights to try, a trial that was refused says nothing about the kernel; with a filter it says so.
#[test]
fn refused_trials() {
    let denied = Facts {
        ring_buffer: Err(Errno(libc::EPERM)),
        ..good()
    };
    let no_rights = Facts {
        privileges: Privileges {
            effective: 0,
            ..good().privileges
        },
        ..denied.clone()
    };
    assert_eq!(level(&no_rights, "ring buffer"), Level::Warn);
    let filtered = Facts {
        privileges: Privileges {
            seccomp: true,
            ..good().privileges
        },
        ..denied
    };
    let check = kernel::checks(&filtered)
        .into_iter()
        .find(|check| check.name == "ring buffer")
        .unwrap();
    assert!(
        check.level == Level::Fail && check.found.contains("seccomp"),
        "{check:?}"
    );
}

/// A refused uprobe is put down to the capability that is missing; when none is, to the call that failed.
#[test]
fn refused_uprobe() {
    let failed = Failed {
        call: "perf_event_open",
        errno: Errno(libc::EACCES),
    };
    let only_perfmon = Privileges {
        effective: 1 << 38 | 1 << 39,
        ..good().privileges
    };
    let check = kernel::uprobe_trial(
        Err(failed),
        &Facts {
            privileges: only_perfmon,
            ..good()
        },
    );
    assert!(
        check.level == Level::Fail && check.found.contains("CAP_SYS_ADMIN"),
        "{check:?}"
    );
    let check = kernel::uprobe_trial(Err(failed), &good());
    assert!(
        check.level == Level::Fail && check.found.starts_with("perf_event_open failed"),
        "{check:?}"
    );
    let tried = kernel::try_uprobe(&Facts {
        uprobe_pmu: None,
        ..good()
    });
    assert_eq!(tried.level, Level::Warn);
}

/// All missing capabilities are named at once, and the rest of the line is the remedy.
#[test]
fn capabilities_are_named() {
    let facts = Facts {
        privileges: Privileges {
            effective: 0,
            ..good().privileges
        },
        ..good()
    };
    let message = privileges::require(&facts).unwrap_err().to_string();
    assert!(
        message.starts_with("missing CAP_BPF and CAP_PERFMON: run offheap as root"),
        "{message}"
    );
}

/// A failed check becomes one line that names it.
#[test]
fn first_failure_is_the_reason() {
    let facts = Facts {
        uprobe_pmu: None,
        ..good()
    };
    let message = first_failed(kernel::checks(&facts)).unwrap().to_string();
    assert!(
        message.starts_with("uprobes: no /sys/bus") && !message.contains('\n'),
        "{message}"
    );
    assert!(first_failed(kernel::checks(&good())).is_none());
}

/// The table shows the remedies below their rows and ends with the conclusion.
#[test]
fn table() {
    let checks = vec![
        Check::ok("a", "fine"),
        Check::fail("long name", "bad", "do this"),
    ];
    let expected = [
        "ok    a          fine",
        "FAIL  long name  bad",
        "                 -> do this",
        "",
    ]
    .join("\n");
    let shown = Diagnosis { checks }.to_string();
    assert_eq!(
        shown,
        expected + "\ntracing will not work: 1 check failed\n"
    );
}

/// What the passive checks conclude about this very kernel is what a real attach says; and a process of ours
/// passes all checks where the kernel does.
#[test]
fn this_machine() {
    let facts = Facts::read();
    let promised = all_checks(&facts)
        .iter()
        .all(|check| check.level != Level::Fail);
    let trial = kernel::try_uprobe(&facts);
    if facts.privileges.has(privileges::SYS_ADMIN) {
        assert_eq!(promised, trial.level == Level::Ok, "{facts:#?} {trial:?}");
    }
    if promised && trial.level == Level::Ok {
        let us = preflight(Pid(std::process::id())).unwrap();
        assert_eq!(us.pid.0, std::process::id());
    } else {
        assert!(
            preflight(Pid(std::process::id()))
                .unwrap_err()
                .is::<Refusal>()
        );
    }
}

/// A kernel that gives the better kind of link, and refuses the other, is no obstacle.
#[test]
fn one_kind_of_link_is_enough() {
    let facts = Facts {
        privileges: Privileges {
            effective: 1 << 38 | 1 << 39,
            ..good().privileges
        },
        // No PMU has this number.
        uprobe_pmu: Some(u32::MAX),
        ..good()
    };
    let perf = kernel::attaching(&facts, LinkKind::Perf);
    assert_eq!(perf.level, Level::Fail, "{perf:?}");
    for links in [LinkKind::Multi, LinkKind::Session] {
        let check = kernel::attaching(&facts, links);
        assert_eq!(check.level, Level::Ok, "{check:?}");
    }
}

/// The libraries of a real process are recognized in its mappings.
#[test]
fn own_libraries() {
    let us = Process::open(Pid(std::process::id())).unwrap();
    let checks = process::checks(&us);
    let found = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    assert!(found("libraries").found.contains("libc"), "{checks:?}");
    assert_eq!(found("JVM").level, Level::Warn);
    assert_eq!(found("memory").level, Level::Ok);
}

/// A program that the kernel does not take fails the check, with the reason in one line; none does not.
#[test]
fn programs_that_are_not_taken() {
    let trial = |refused: Vec<anyhow::Error>| {
        kernel::programs(Ok(Trial {
            links: LinkKind::Perf,
            taken: 28,
            refused,
        }))
    };
    let good = trial(Vec::new());
    assert_eq!(good.level, Level::Ok);
    assert!(
        good.found
            .starts_with("all 28 taken; attached by perf_event links"),
        "{}",
        good.found
    );
    let bad = trial(vec![anyhow::anyhow!(
        "the kernel does not take x: E2BIG\nlog\nlog"
    )]);
    assert_eq!(bad.level, Level::Fail);
    assert_eq!(bad.found, "1 of them: the kernel does not take x: E2BIG");
    assert!(!bad.remedy.is_empty());
}
