//! The JVM's own word: each Java frame of a captured stack is the one that the JVM itself has there, on every JDK, under
//! every flag that changes frames, for every kind of frame.

use std::collections::BTreeMap;
use std::time::Instant;

use offheap::capture::{Capture, FrameKind};
use offheap_tests::jdk::Jdk;
use offheap_tests::session::skip;
use offheap_tests::sources::jni_includes;
use offheap_tests::witness::{Case, is_java};
use offheap_tests::{CFlags, Target, Tool, c_library, classpath, session};

/// The installed JDK runs all of them, the others the first two; with `OFFHEAP_FULL=1` each runs all that it has.
const FLAGS: [&[&str]; 13] = [
    &[],
    &["-Xint"],
    &["-XX:TieredStopAtLevel=1"],
    &["-XX:-TieredCompilation"],
    &["-XX:-Inline"],
    &["-Xcomp"],
    &["-XX:+PreserveFramePointer"],
    &["-XX:-SegmentedCodeCache"],
    &["-XX:+UseSerialGC"],
    &["-XX:+UseParallelGC"],
    &["-XX:+UseG1GC"],
    &["-XX:+UnlockExperimentalVMOptions", "-XX:+UseZGC"],
    &["-XX:+UnlockExperimentalVMOptions", "-XX:+UseShenandoahGC"],
];
const EVERYWHERE: usize = 2;
/// Compilers begin after a twentieth of the usual calls, and the program waits for them: the rounds below are enough
/// for all tiers, and which method is compiled does not depend on the machine's load.
const SOON: [&str; 2] = ["-XX:CompileThresholdScaling=0.05", "-Xbatch"];
const ROUNDS: &str = "100";
/// Nothing is compiled, or everything at its first call: the rounds only load classes.
const FEW_ROUNDS: &str = "20";

/// What one run has to be told of.
struct Run {
    cases: Vec<Case>,
    capture: Capture,
}

/// Traces `targets.Witness` on `jdk`; None, with the reason printed, where something is missing here.
fn run(jdk: &Jdk, flags: &[&str]) -> Option<Run> {
    let classpath = classpath()?;
    let Some(includes) = jni_includes() else {
        skip("jni.h of the JDK");
        return None;
    };
    let includes: Vec<&str> = includes.iter().map(String::as_str).collect();
    let library = c_library(
        "witness",
        CFlags {
            compile: &includes,
            link: &[],
        },
    );
    let constant = flags.iter().any(|flag| ["-Xint", "-Xcomp"].contains(flag));
    let rounds = if constant { FEW_ROUNDS } else { ROUNDS };
    let mut java = jdk.java(&classpath, &[&SOON[..], flags].concat(), "Witness");
    let mut target = Target::start(java.arg(library).arg(rounds));
    let exact = ["--sample-bytes", "0", "--ring-bytes", "64m"];
    let tool = Tool::capture(target.pid(), &exact);
    target.say("go");
    let count: usize = target.await_value("cases ").parse().expect("a number");
    let cases = (0..count)
        .map(|_| Case::parse(&target.await_value("case ")))
        .collect();
    target.await_word("done");
    Some(Run {
        cases,
        capture: tool.finish(),
    })
}

/// What is wrong in a run, one text each.
fn faults(run: &Run) -> Vec<String> {
    let mut faults = Vec::new();
    for case in &run.cases {
        let told = case.site(&run.capture).and_then(|site| case.compare(site));
        if let Err(fault) = told {
            faults.push(format!("{} by {}: {fault}", case.path, case.means));
        }
    }
    let capture = &run.capture;
    let unsupported = capture.target.jvm.as_ref().map(|jvm| &jvm.unsupported);
    if unsupported != Some(&None) {
        faults.push(format!("the JVM is not understood: {unsupported:?}"));
    }
    let completeness = &capture.completeness;
    if completeness.stacks == 0 || completeness.complete != completeness.stacks {
        faults.push(format!("not all stacks are complete: {completeness:?}"));
    }
    faults
}

/// How many Java frames of each kind were compared.
fn kinds(run: &Run) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    let sites = run
        .cases
        .iter()
        .filter_map(|case| case.site(&run.capture).ok());
    for frame in sites
        .flat_map(|site| &site.frames)
        .filter(|frame| is_java(frame))
    {
        *kinds.entry(format!("{:?}", frame.kind)).or_default() += 1;
    }
    kinds
}

/// The kinds of frames that a row is there for, so that it can't pass without them.
fn expected(flags: &[&str]) -> (&'static [FrameKind], &'static [FrameKind]) {
    use FrameKind::{C1, C2, Inlined, Interpreted};
    match flags {
        ["-Xint"] => (&[Interpreted], &[C1, C2, Inlined]),
        ["-XX:TieredStopAtLevel=1"] => (&[C1, Inlined], &[C2]),
        ["-XX:-TieredCompilation"] => (&[C2, Inlined], &[C1]),
        ["-Xcomp"] => (&[Inlined], &[]),
        ["-XX:-Inline"] => (&[C2], &[]),
        _ => (&[C2, Inlined], &[]),
    }
}

/// Runs the rows and fails with all that is wrong in any of them.
fn check(rows: &[(Jdk, &[&str])]) {
    let mut all = Vec::new();
    for (jdk, flags) in rows {
        if !jdk.has(flags) {
            println!("JDK {jdk} has no {flags:?}");
            continue;
        }
        let begun = Instant::now();
        let Some(run) = run(jdk, flags) else { return };
        let (faults, kinds) = (faults(&run), kinds(&run));
        println!(
            "JDK {jdk} {flags:?}: {} cases, {} faults, {} stacks, frames {kinds:?}, {:.1} s",
            run.cases.len(),
            faults.len(),
            run.capture.completeness.stacks,
            begun.elapsed().as_secs_f64()
        );
        let (with, without) = expected(flags);
        let has = |kind: &FrameKind| kinds.contains_key(&format!("{kind:?}"));
        assert!(with.iter().all(has), "{flags:?} gave only {kinds:?}");
        assert!(!without.iter().any(has), "{flags:?} gave {kinds:?}");
        all.extend(
            faults
                .iter()
                .map(|fault| format!("JDK {jdk} {flags:?}: {fault}")),
        );
    }
    assert!(all.is_empty(), "{} faults\n{}", all.len(), all.join("\n"));
}

fn is_full() -> bool {
    std::env::var_os("OFFHEAP_FULL").is_some_and(|value| value == "1")
}

/// On each JDK every Java frame is the JVM's own, compiled and interpreted.
#[test]
fn every_jdk_agrees() {
    let Some(_session) = session() else { return };
    let flags = if is_full() {
        &FLAGS[..]
    } else {
        &FLAGS[..EVERYWHERE]
    };
    let jdks = Jdk::downloaded();
    let rows: Vec<(Jdk, &[&str])> = jdks
        .iter()
        .flat_map(|jdk| flags.iter().map(|flags| (jdk.clone(), *flags)))
        .collect();
    check(&rows);
}

/// Under each flag that changes compilers, frames, code heaps or collectors every Java frame is the JVM's own.
#[test]
fn every_flag_agrees() {
    let Some(_session) = session() else { return };
    let Some(jdk) = Jdk::installed() else {
        return skip("java");
    };
    check(&FLAGS.map(|flags| (jdk.clone(), flags)));
}
