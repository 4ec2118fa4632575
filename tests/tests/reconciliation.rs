//! How what is tracked accounts for the change of RSS: an exact sum, leaks told from retention and from what nobody saw.

use std::process::Command;

use offheap::capture::{Capture, Reconciliation};
use offheap_tests::jdk::Jdk;
use offheap_tests::{CFlags, Target, Tool, assert_conserved, c_program, classpath, session};

const MIB: i64 = 1 << 20;
/// A look before a snapshot on a process of this size, in the debug build on a busy machine.
const LONGEST_LOOK_MS: f64 = 1000.0;

fn reconciled(capture: &Capture) -> Reconciliation {
    let memory = &capture.memory;
    let owners = memory.owners.as_ref().expect("owners");
    let (start, end) = (
        owners.start.as_ref().expect("a look at the start"),
        owners.end.as_ref().expect("a look at the end"),
    );
    let sum = memory
        .reconciliation
        .unwrap_or_else(|| panic!("no sum: {owners:#?}"));
    for look in [start, end] {
        let resident: u64 = look.resident.values().sum();
        assert_eq!(resident, look.rss, "the owners add up");
        assert!(look.took_ms < LONGEST_LOOK_MS, "{look:?}");
    }
    let terms = [
        sum.tracked,
        sum.java_heap,
        sum.jvm,
        sum.stacks,
        sum.allocator_free,
        sum.files,
        sum.untracked,
    ];
    assert_eq!(terms.iter().sum::<i64>(), sum.rss_delta, "{sum:?}");
    assert_eq!(sum.rss_delta, end.rss as i64 - start.rss as i64, "{sum:?}");
    sum
}

/// Runs the steps in the window of an exact capture; gives the sum and the report's first lines.
fn native(steps: &[&str], flags: &[&str]) -> (Reconciliation, Vec<String>) {
    let program = c_program("burst", CFlags::default());
    let mut target = Target::start(Command::new(program).args(steps));
    let tool = Tool::capture(target.pid(), &[&["--sample-bytes", "0"], flags].concat());
    target.work();
    let (capture, report) = finished(tool);
    if capture.functions.iter().any(|function| function.seen > 0) {
        assert_conserved(&capture);
    }
    (reconciled(&capture), report)
}

/// The capture, and the verdict of its report.
fn finished(tool: Tool) -> (Capture, Vec<String>) {
    let finished = tool.interrupted();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let verdict = finished.stdout.iter().take_while(|line| !line.is_empty());
    let verdict = verdict.cloned().collect();
    (finished.capture(), verdict)
}

fn assert_near(bytes: i64, expected: i64, off: i64, sum: &Reconciliation) {
    assert!(
        (bytes - expected).abs() <= off,
        "{bytes} is not {expected}, give or take {off}: {sum:#?}"
    );
}

/// What stays allocated is tracked, and next to nothing is left over.
#[test]
fn growth_is_tracked() {
    let Some(_session) = session() else { return };
    let (sum, report) = native(&["kept"], &[]);
    assert_eq!(sum.tracked, 64_000 * 1009);
    assert_near(sum.rss_delta, 64_000 * 1024, 2 * MIB, &sum);
    assert_near(sum.untracked, 64_000 * 15, MIB, &sum);
    assert!(!report[0].starts_with("RSS grew"), "{report:#?}");
}

/// What malloc keeps after a burst is retention: little is outstanding, and the report says so with the numbers.
#[test]
fn retention_is_no_leak() {
    let Some(_session) = session() else { return };
    let (sum, report) = native(&["burst"], &[]);
    assert_eq!(sum.tracked, 4000 * 41);
    assert_near(sum.allocator_free, 4000 * 60_016, 2 * MIB, &sum);
    assert_near(sum.untracked, 0, 2 * MIB, &sum);
    assert!(
        report[0].starts_with("RSS grew by 229 MiB")
            && report[0].contains("freed and kept by malloc (+229 MiB)"),
        "{report:#?}"
    );
    assert!(
        report[1].starts_with("malloc keeps 229 MiB of freed memory")
            && report[1].contains("no leak"),
        "{report:#?}"
    );
}

/// What no probe sees is the remainder, and the report begins with it; blocks whose pages were never touched make it
/// smaller.
#[test]
fn untracked_is_named() {
    let Some(_session) = session() else { return };
    let (sum, report) = native(&["hidden"], &[]);
    assert_near(sum.untracked, 64 * MIB, MIB, &sum);
    assert!(
        report[0].starts_with("RSS grew by 64") && report[0].contains("untracked (+64"),
        "{report:#?}"
    );
    let (sum, _) = native(&["untouched"], &[]);
    assert_eq!(sum.tracked, 128 * MIB);
    assert_near(sum.untracked, -128 * MIB, MIB, &sum);
}

/// Where page faults are watched and not malloc, what was touched is tracked, and what malloc keeps of it is not counted
/// again.
#[test]
fn pages_are_tracked() {
    let Some(_session) = session() else { return };
    for steps in ["kept", "burst"] {
        let (sum, report) = native(&[steps], &["--hooks", "growth"]);
        assert_eq!(sum.allocator_free, 0);
        assert!(sum.tracked_estimated, "{sum:#?}");
        assert_near(sum.tracked, sum.rss_delta, 4 * MIB, &sum);
        assert!(!report[0].starts_with("RSS grew"), "{report:#?}");
    }
}

/// Where malloc is not hooked, what it took is untracked, and the report says which hook is missing.
#[test]
fn missing_hook_is_named() {
    let Some(_session) = session() else { return };
    let (sum, report) = native(&["kept"], &["--hooks", "zlib"]);
    assert_eq!(sum.tracked, 0);
    assert_near(sum.untracked, 64_000 * 1024, 2 * MIB, &sum);
    assert!(report[0].contains("malloc is not hooked"), "{report:#?}");
}

/// A target that ends in the window has no owners at the end, and the capture says why.
#[test]
fn ended_target() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(Command::new(c_program("burst", CFlags::default())).arg("kept"));
    let tool = Tool::capture(target.pid(), &[]);
    target.work();
    target.kill();
    let finished = tool.ended();
    let capture = finished.capture();
    let owners = capture.memory.owners.as_ref().expect("owners");
    assert!(owners.start.is_some() && owners.end.is_none(), "{owners:?}");
    assert_eq!(owners.missing, ["at the end: the target had ended"]);
    assert_eq!(capture.memory.reconciliation, None);
    assert!(
        finished
            .stdout
            .iter()
            .any(|line| line.contains("owners at the end: the target had ended")),
        "{:#?}",
        finished.stdout
    );
}

/// A JVM whose native blocks grow, one that retains freed ones, and one whose heap grows are told apart.
#[test]
fn java() {
    let Some(_session) = session() else { return };
    let Some((leak, report)) = incident("native", "-Xms128m") else {
        return;
    };
    // 24 MiB of blocks that nobody frees.
    assert_near(leak.tracked, 24 * MIB, 8 * MIB, &leak);
    assert!(!report[0].starts_with("RSS grew"), "{report:#?}");
    let Some((burst, report)) = incident("burst", "-Xms128m") else {
        return;
    };
    assert_near(burst.allocator_free, 4000 * 60_016, 30 * MIB, &burst);
    assert!(
        report
            .iter()
            .any(|line| line.starts_with("malloc keeps 2") && line.contains("trim_native_heap")),
        "{report:#?}"
    );
    let Some((heap, report)) = incident("heap", "-Xms16m") else {
        return;
    };
    assert!(heap.java_heap > 64 * MIB, "{heap:#?}");
    assert!(
        report[0].starts_with("RSS grew") && report[0].contains("the rest is Java heap"),
        "{report:#?}"
    );
}

/// One step of `Incidents` in the window.
fn incident(kind: &str, heap: &str) -> Option<(Reconciliation, Vec<String>)> {
    let jdk = Jdk::downloaded()
        .into_iter()
        .find(|jdk| jdk.release == 17)
        .or_else(Jdk::installed)?;
    let flags = ["-XX:+UseSerialGC", heap, "-Xmx128m"];
    let mut java = jdk.plain_java(&classpath()?, &flags, "Incidents");
    let mut target = Target::start(java.arg(kind));
    let tool = Tool::capture(target.pid(), &["--sample-bytes", "4096"]);
    target.say("go");
    target.await_word("done");
    let (capture, report) = finished(tool);
    Some((reconciled(&capture), report))
}
