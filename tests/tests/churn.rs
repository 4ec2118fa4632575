//! A JVM that generates, compiles, deoptimises and unloads code all the time, under each collector: the stacks are
//! complete, and none is wrong.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use offheap::capture::Capture;
use offheap_tests::churn::{Family, Verdict, judge};
use offheap_tests::jdk::Jdk;
use offheap_tests::session::{is_full, skip};
use offheap_tests::sources::jni_includes;
use offheap_tests::{CFlags, Target, Tool, c_library, classpath, session};

/// Compilers begin at once, so that code that lives for a moment goes through all tiers, and the program does not wait for
/// them.
const SOON: [&str; 2] = [
    "-XX:CompileThresholdScaling=0.01",
    "-XX:+BackgroundCompilation",
];
/// Collectors, and a code cache that is flushed all the time.
const FLAGS: [&[&str]; 6] = [
    &["-XX:+UseSerialGC"],
    &["-XX:+UseParallelGC"],
    &["-XX:+UseG1GC"],
    &["-XX:+UnlockExperimentalVMOptions", "-XX:+UseZGC"],
    &["-XX:+UnlockExperimentalVMOptions", "-XX:+UseShenandoahGC"],
    &["-XX:+UseSerialGC", "-XX:ReservedCodeCacheSize=8m"],
];
const THREADS: &str = "2";
/// How often the program takes memory: the JVM itself does so several times as often meanwhile.
const TAKES: &str = "3000";
const MANY_TAKES: &str = "30000";
/// With [`MANY_TAKES`].
const MANY_STACKS: u64 = 100_000;
/// Stacks of a machine that is busy with other things are walked too late to be sure of them. They say so.
const ENOUGH: f64 = 0.95;
/// From JDK 20 on only collections free code (JDK-8290025 has removed the sweeper), and where they do not find it cold it
/// stays: with a load of 16 on two CPUs all stacks were complete, and they were 99.88 % with the smallest code cache.
const ENOUGH_WITHOUT_SWEEPER: f64 = 0.99;
const WITHOUT_SWEEPER: u32 = 20;
const LATE: [&str; 4] = [
    "[code replaced since]",
    "[no live code blob]",
    "[unreadable JVM metadata]",
    "[stack lost]",
];

/// How long the tool is stopped, again and again: several of the target's collections.
const STALLS: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(400)];

/// Traces `targets.Churn` on `jdk`, with a tool that is stopped for so long again and again, if at all; None, with the reason printed, where something is missing here.
fn run(
    jdk: &Jdk,
    flags: &[&str],
    takes: &str,
    stall: Option<Duration>,
) -> Option<(Vec<Family>, Capture)> {
    let classpath = classpath()?;
    let Some(includes) = jni_includes() else {
        skip("jni.h of the JDK");
        return None;
    };
    let includes: Vec<&str> = includes.iter().map(String::as_str).collect();
    let library = c_library(
        "blocks",
        CFlags {
            compile: &includes,
            link: &[],
        },
    );
    let mut java = jdk.java(&classpath, &[&SOON, flags].concat(), "Churn");
    let mut target = Target::start(java.arg(library).args([THREADS, takes]));
    let exact = [
        "--sample-bytes",
        "0",
        "--ring-bytes",
        "64m",
        "--hooks",
        "malloc,zlib",
    ];
    let tool = Tool::capture(target.pid(), &exact);
    target.say("go");
    let families = thread::scope(|scope| {
        let (over, is_over) = channel::<()>();
        let tool = &tool;
        scope.spawn(move || {
            // Ends with the target's work, and leaves the tool running.
            let mut pauses = stall
                .into_iter()
                .flat_map(|stall| [stall / 2, stall])
                .cycle();
            let mut signals = [libc::SIGSTOP, libc::SIGCONT].into_iter().cycle();
            let waits = |pause| is_over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout);
            while pauses.next().is_some_and(waits) {
                signals
                    .next()
                    .into_iter()
                    .for_each(|signal| tool.signal(signal));
            }
            tool.signal(libc::SIGCONT);
        });
        let families = told(&mut target);
        drop(over);
        families
    });
    Some((families, tool.finish()))
}

/// What the target says of its families when it is done.
fn told(target: &mut Target) -> Vec<Family> {
    let count: usize = target.await_value("families ").parse().expect("a number");
    let families = (0..count)
        .map(|_| Family::parse(&target.await_value("family ")))
        .collect();
    target.await_word("done");
    families
}

/// One line of the table in `docs/BENCHMARKS.md`.
fn print(jdk: &Jdk, flags: &[&str], capture: &Capture, verdict: &Verdict, begun: Instant) {
    let completeness = &capture.completeness;
    println!(
        "| {jdk} | {} | {} | {:.4} % | {} | {:.4} % | {} of {} | {} | {:?} | {:?} | {:?} | {:.0} s |",
        flags.last().unwrap_or(&""),
        completeness.stacks,
        percent(completeness.complete, completeness.stacks),
        verdict.stacks,
        percent(verdict.whole, verdict.stacks),
        verdict.right,
        verdict.takes,
        verdict.wrong.len(),
        completeness.ends,
        verdict.unknown,
        capture.losses,
        begun.elapsed().as_secs_f64(),
    );
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Runs the rows and fails with all that is wrong in any of them.
fn check(rows: &[(Jdk, &[&str])], takes: &str) -> Option<()> {
    let mut faults = Vec::new();
    for (jdk, flags) in rows {
        if !jdk.has(flags) {
            println!("JDK {jdk} has no {flags:?}");
            continue;
        }
        let begun = Instant::now();
        let (families, capture) = run(jdk, flags, takes, None)?;
        let verdict = judge(&families, &capture);
        print(jdk, flags, &capture, &verdict, begun);
        for fault in verdict.wrong.iter().take(3) {
            println!("{fault}");
        }
        let completeness = &capture.completeness;
        let share = completeness.complete as f64 / completeness.stacks as f64;
        let enough = match jdk.release {
            WITHOUT_SWEEPER.. => ENOUGH_WITHOUT_SWEEPER,
            _ => ENOUGH,
        };
        if share < enough || verdict.right == 0 {
            faults.push(format!("JDK {jdk} {flags:?}: {completeness:?}"));
        }
        let late = |reason: &&String| !LATE.contains(&reason.as_str());
        faults.extend(
            verdict
                .unknown
                .keys()
                .find(late)
                .map(|reason| format!("JDK {jdk} {flags:?}: {reason}")),
        );
        if takes == MANY_TAKES && completeness.stacks < MANY_STACKS {
            faults.push(format!("JDK {jdk} {flags:?}: too few stacks"));
        }
        let wrong = verdict.wrong.iter().take(3);
        faults.extend(wrong.map(|fault| format!("JDK {jdk} {flags:?}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Some(())
}

/// While code and classes come and go, no stack has a frame that the JVM did not have there, and hardly one ends early.
#[test]
fn code_that_comes_and_goes() {
    let Some(_session) = session() else { return };
    let is_full = is_full();
    let mut jdks = Jdk::downloaded();
    jdks.extend(Jdk::installed());
    if jdks.is_empty() {
        return skip("java");
    }
    let rows: Vec<(Jdk, &[&str])> = if is_full {
        let all = |jdk: &Jdk| FLAGS.map(|flags| (jdk.clone(), flags));
        jdks.iter().flat_map(all).collect()
    } else {
        let newest = jdks.iter().max_by_key(|jdk| jdk.release);
        newest
            .map(|jdk| (jdk.clone(), FLAGS[2]))
            .into_iter()
            .collect()
    };
    check(&rows, if is_full { MANY_TAKES } else { TAKES });
}

/// A tool that is stopped again and again walks its stacks late, when code and classes have been replaced: much is unknown
/// then, and nothing is wrong.
#[test]
fn walks_that_come_late() {
    let Some(_session) = session() else { return };
    let jdks = Jdk::downloaded();
    if jdks.is_empty() {
        return skip("java");
    }
    let takes = if is_full() { MANY_TAKES } else { TAKES };
    let mut right = 0;
    for jdk in &jdks {
        for (flags, stall) in [FLAGS[1], FLAGS[2]].into_iter().zip(STALLS) {
            let begun = Instant::now();
            let Some((families, capture)) = run(jdk, flags, takes, Some(stall)) else {
                return;
            };
            let verdict = judge(&families, &capture);
            print(jdk, flags, &capture, &verdict, begun);
            assert!(
                verdict.wrong.is_empty(),
                "JDK {jdk} {flags:?}: {}",
                verdict.wrong[0]
            );
            right += verdict.right;
        }
    }
    // Where the tool was stopped for most of the time there may be nothing to be right about; not everywhere.
    assert!(right > 0, "no stack was complete on any JDK");
}
