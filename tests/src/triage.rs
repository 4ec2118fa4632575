//! `offheap triage` on JVMs that behave as an incident did.

use offheap::triage::reading::Summary;
use offheap::triage::report::{Report, SCHEMA};
use offheap::triage::verdict::Cause;

use crate::jdk::Jdk;
use crate::{Target, Tool, Truth, classpath};

/// Those that each JDK of the tests has.
pub const COLLECTORS: [&str; 4] = [
    "-XX:+UseG1GC",
    "-XX:+UseParallelGC",
    "-XX:+UseSerialGC",
    "-XX:+UseZGC",
];

/// The heap has all its memory from the start, so that it can't grow; experimental collectors are unlocked.
pub const STEADY: [&str; 4] = [
    "-XX:+UnlockExperimentalVMOptions",
    "-Xms128m",
    "-Xmx128m",
    "-XX:+AlwaysPreTouch",
];
/// Starts `Incidents KIND` on a JDK.
pub fn incidents(jdk: &Jdk, flags: &[&str], kind: &str) -> Option<Target> {
    let classpath = classpath()?;
    let all = [&STEADY[..], flags].concat();
    let mut java = jdk.plain_java(&classpath, &all, "Incidents");
    Some(Target::start(java.arg(kind)))
}

/// The report that was printed, whose owners have to add up.
///
/// # Panics
/// It is none, or they do not.
pub fn parsed(stdout: &[String]) -> Report {
    let text = stdout.join("\n");
    let report: Report =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(report.schema, SCHEMA);
    for look in &report.looks {
        let sum: u64 = look.owners.iter().map(|owner| owner.resident).sum();
        assert_eq!(sum, look.rss, "the owners add up");
        assert!(sum.is_multiple_of(1024));
    }
    report
}

/// One look.
///
/// # Panics
/// The tool fails.
pub fn look(target: &Target) -> Report {
    let pid = target.pid().to_string();
    let finished = Tool::start(["triage", &pid, "-f", "json"]).ended();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    parsed(&finished.stdout)
}

/// A look before, one after each of `steps` steps of the target.
///
/// # Panics
/// The tool fails.
pub fn looks(target: &mut Target, steps: usize) -> Report {
    watched(target, steps).0
}

/// The same, with what the target told of itself at each step.
///
/// # Panics
/// The tool fails.
pub fn watched(target: &mut Target, steps: usize) -> (Report, Vec<Truth>) {
    let mut truths = Vec::new();
    let pid = target.pid().to_string();
    let tool = Tool::start(["triage", &pid, "-d", "600s", "-f", "json"]);
    for step in 1..=steps {
        let line = format!("look {step}");
        tool.await_stderr(&line, |said| said == line);
        truths.extend(target.work());
        tool.signal(if step < steps {
            libc::SIGUSR1
        } else {
            libc::SIGINT
        });
    }
    let finished = tool.ended();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let report = parsed(&finished.stdout);
    assert_eq!(report.looks.len(), steps + 1);
    (report, truths)
}

/// What the verdict says, first cause first.
pub fn causes(report: &Report) -> Vec<Cause> {
    report.verdict.iter().map(|finding| finding.cause).collect()
}

/// The last look.
///
/// # Panics
/// There is none.
pub fn last(report: &Report) -> &Summary {
    report.looks.last().expect("a look")
}

/// For messages of failed assertions.
pub fn describe(report: &Report) -> String {
    let says: Vec<&str> = report
        .verdict
        .iter()
        .map(|finding| finding.says.as_str())
        .collect();
    format!("{says:#?}\n{report}")
}

/// The JDK that scenarios run on where any will do.
pub fn jdk() -> Option<Jdk> {
    Jdk::downloaded()
        .into_iter()
        .find(|jdk| jdk.release == 17)
        .or_else(Jdk::installed)
}
