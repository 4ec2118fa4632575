//! `offheap triage`: owners that add up, the right verdict for a healthy process, and what it refuses.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};

use offheap::triage::growth::resident;
use offheap::triage::owners::Kind;
use offheap::triage::report::Report;
use offheap_tests::jdk::Jdk;
use offheap_tests::process::only_child;
use offheap_tests::session::lacks_program;
use offheap_tests::triage::{COLLECTORS, STEADY, describe, incidents, jdk, last, look, parsed};
use offheap_tests::{CFlags, Target, Tool, c_program, classpath, session};
use tempfile::TempDir;

/// One look agrees with the kernel's own sum after so many tries: an idle JVM still does something now and then.
const TRIES: usize = 40;

/// On each JDK with each collector the owners add up to `smaps_rollup` to the kilobyte, the JVM's own parts are told, each
/// Java thread has its stack, and little is left without an owner.
#[test]
fn owners_add_up() {
    let Some(_session) = session() else { return };
    for jdk in Jdk::downloaded() {
        for collector in COLLECTORS {
            let Some(target) = incidents(&jdk, &[collector], "healthy") else {
                return;
            };
            let agrees = |report: &Report| last(report).facts.rollup_rss == Some(last(report).rss);
            let report = (0..TRIES).map(|_| look(&target)).find(agrees);
            let report = report
                .unwrap_or_else(|| panic!("{jdk} {collector}: never the same as smaps_rollup"));
            assert_parts(&report, &format!("{jdk} {collector}"));
        }
    }
}

fn assert_parts(report: &Report, what: &str) {
    let look = last(report);
    let jvm = look
        .facts
        .jvm
        .as_ref()
        .unwrap_or_else(|| panic!("{what}: {}", describe(report)));
    assert_eq!(jvm.unsupported, None, "{what}");
    assert_eq!(jvm.perf_data, "file", "{what}");
    let heap = resident(look, Kind::JavaHeap);
    // All of it was touched at the start; ZGC does so through one of its views, and uses another.
    let least = if jvm.collector.as_deref() == Some("Z") {
        60
    } else {
        120
    };
    assert!(
        (least << 20..=130 << 20).contains(&heap),
        "{what}: {heap}\n{report}"
    );
    for kind in [
        Kind::Metaspace,
        Kind::CodeCache,
        Kind::JavaStacks,
        Kind::MallocArenas,
        Kind::Libraries,
    ] {
        assert!(resident(look, kind) > 0, "{what}: {kind:?}\n{report}");
    }
    let stacks = look
        .owners
        .iter()
        .find(|owner| owner.kind == Kind::JavaStacks);
    let stacks = stacks.map(|owner| owner.count);
    assert_eq!(stacks, jvm.java_threads, "{what}\n{report}");
    let unknown = resident(look, Kind::Anonymous);
    assert!(unknown < look.rss / 10, "{what}: {unknown}\n{report}");
    assert_eq!(look.facts.malloc.unknown, None, "{what}");
    assert_eq!(
        jvm.direct.map(|direct| direct.count > 64),
        Some(false),
        "{what}"
    );
    assert!(jvm.heap.max >= Some(128 << 20), "{what}\n{report}");
    // ZGC of JDK 11 has no counters.
    let is_old_z = jvm.collector.as_deref() == Some("Z") && what.starts_with("11");
    assert_eq!(jvm.collections.is_empty(), is_old_z, "{what}\n{report}");
}

/// Without shared perf data the JVM is told by its own tables, and its counters from memory or not at all.
#[test]
fn without_perf_data() {
    let Some(_session) = session() else { return };
    for (flag, expected) in [
        ("-XX:-UsePerfData", "none (-XX:-UsePerfData)"),
        ("-XX:+PerfDisableSharedMem", "memory"),
    ] {
        for jdk in Jdk::downloaded() {
            let Some(target) = incidents(&jdk, &["-XX:+UseSerialGC", flag], "healthy") else {
                return;
            };
            let report = look(&target);
            let jvm = last(&report).facts.jvm.as_ref().expect("a JVM");
            assert_eq!(
                (jvm.perf_data.as_str(), jvm.collector.as_deref()),
                (expected, Some("Serial")),
                "{jdk}"
            );
            assert!(
                jvm.heap
                    .used
                    .is_some_and(|used| (1 << 20..=128 << 20).contains(&used)),
                "{jdk}: {}",
                describe(&report)
            );
            assert_eq!(
                jvm.collections.is_empty(),
                expected.starts_with("none"),
                "{jdk}"
            );
        }
    }
}

/// A process without a JVM is told apart just as well, and one with ten thousand mappings is read within bounds.
#[test]
fn ten_thousand_mappings() {
    let Some(_session) = session() else { return };
    let target = Target::start(&mut Command::new(c_program("mappings", CFlags::default())));
    let folder = TempDir::new().expect("a temporary directory");
    let output = folder.path().join("output");
    let mut tool = Command::new(offheap_tests::tool::binary().expect("a session"))
        .args(["triage", &target.pid().to_string(), "-f", "json"])
        .stdout(File::create(&output).expect("an own file"))
        .spawn()
        .expect("offheap runs");
    let peak = peak_of(&mut tool);
    let text = std::fs::read_to_string(&output).expect("an own file");
    let report = parsed(&[text]);
    let look = last(&report);
    assert_eq!(
        look.facts.rollup_rss,
        Some(look.rss),
        "{}",
        describe(&report)
    );
    assert!(look.facts.jvm.is_none());
    let pieces: u64 = look.owners.iter().map(|owner| owner.count).sum();
    assert!(pieces >= 10_000, "{}", describe(&report));
    assert!(peak < 50 << 20, "{peak} bytes");
}

/// Waits for a child; the most memory that it had, in bytes.
fn peak_of(child: &mut Child) -> u64 {
    // SAFETY: rusage is plain data, for which zeroes are a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let (pid, mut status) = (child.id().cast_signed(), 0);
    // SAFETY: both are live for the call, which fills them; nobody else waits for this child.
    let waited = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
    assert_eq!((waited, status), (pid, 0), "offheap ends well");
    usage.ru_maxrss.unsigned_abs() * 1024
}

/// With `--ask-jvm` the JVM answers, with its own heap and what it tracks; the report says that it was asked, and how. The
/// file that asks is gone afterwards.
#[test]
fn ask_jvm() {
    let Some(_session) = session() else { return };
    for jdk in Jdk::downloaded() {
        let Some(target) = incidents(
            &jdk,
            &["-XX:+UseG1GC", "-XX:NativeMemoryTracking=summary"],
            "healthy",
        ) else {
            return;
        };
        let pid = target.pid().to_string();
        for signalled in [true, false] {
            let report = parsed(
                &Tool::start(["triage", &pid, "--ask-jvm", "-f", "json"])
                    .ended()
                    .stdout,
            );
            let asked = &report.asked;
            assert_eq!(
                (asked.asked, asked.signalled, &asked.failed),
                (true, signalled, &None),
                "{jdk}"
            );
            assert!(
                asked.answers["GC.heap_info"].contains("garbage-first heap"),
                "{jdk}: {asked:?}"
            );
            assert!(
                asked.answers["VM.native_memory summary"].contains("Java Heap (reserved="),
                "{jdk}: {asked:?}"
            );
        }
        assert!(!Path::new(&format!("/tmp/.attach_pid{pid}")).exists());
    }
}

/// What is no JVM is not sent the signal that would end it, and a JVM that handles no signals (`-Xrs`) is asked without.
#[test]
fn never_killed() {
    let Some(_session) = session() else { return };
    let mut other = Target::start(&mut Command::new(c_program("mappings", CFlags::default())));
    let ask = |target: &Target| {
        let pid = target.pid().to_string();
        parsed(
            &Tool::start(["triage", &pid, "--ask-jvm", "-f", "json"])
                .ended()
                .stdout,
        )
        .asked
    };
    let asked = ask(&other);
    assert!(
        !asked.asked && asked.failed.is_some() && other.is_alive(),
        "{asked:?}"
    );
    let Some(jdk) = jdk() else { return };
    let Some(mut target) = incidents(&jdk, &["-Xrs"], "healthy") else {
        return;
    };
    let asked = ask(&target);
    assert!(!asked.signalled, "{asked:?}");
    assert!(!look(&target).asked.asked && target.is_alive());
    target.say("go");
    target.await_word("done");
}

/// A JVM in a pid namespace of its own, as in a container, is told by its counters and answers when asked.
#[test]
fn another_pid_namespace() {
    if lacks_program("unshare") {
        return;
    }
    let Some(_session) = session() else { return };
    let (Some(jdk), Some(classpath)) = (jdk(), classpath()) else {
        return;
    };
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]);
    command
        .arg(jdk.home().join("bin/java"))
        .args(STEADY)
        .arg("-cp")
        .arg(classpath);
    let outer = Target::start(command.args(["targets.Incidents", "healthy"]));
    let pid = only_child(outer.pid()).to_string();
    let report = parsed(
        &Tool::start(["triage", &pid, "--ask-jvm", "-f", "json"])
            .ended()
            .stdout,
    );
    let jvm = last(&report).facts.jvm.as_ref().expect("a JVM");
    assert_eq!(
        (jvm.perf_data.as_str(), jvm.unsupported.as_ref()),
        ("file", None),
        "{}",
        describe(&report)
    );
    assert_eq!(report.asked.failed, None);
    assert!(report.asked.answers.contains_key("GC.heap_info"));
}

/// A process that is not there, one that ended and a thread are refused in one line with the usual codes.
#[test]
fn refusals() {
    let Some(_session) = session() else { return };
    for (arguments, code) in [
        (&["triage", "4194304"][..], 3),
        (&["triage"][..], 2),
        (&["triage", "x"][..], 2),
    ] {
        let finished = Tool::start(arguments).ended();
        assert_eq!(finished.code, Some(code), "{:?}", finished.stderr);
        assert_eq!(finished.messages().len(), 1, "{:?}", finished.stderr);
    }
}

/// The verdict comes first, and the table has each owner once.
#[test]
fn text() {
    let Some(_session) = session() else { return };
    let Some(jdk) = jdk() else { return };
    let Some(target) = incidents(&jdk, &["-XX:+UseG1GC"], "healthy") else {
        return;
    };
    let finished = Tool::start(["triage".to_owned(), target.pid().to_string()]).ended();
    assert!(
        finished.stdout[0].starts_with("RSS "),
        "{:#?}",
        finished.stdout
    );
    let all = finished.stdout.join("\n");
    let owners: BTreeSet<&str> = ["Java heap", "metaspace", "code cache", "malloc: arenas"].into();
    for owner in owners {
        let rows = finished
            .stdout
            .iter()
            .filter(|line| line.ends_with(&format!("  {owner}")))
            .count();
        assert_eq!(rows, 1, "{owner}: {all}");
    }
}
