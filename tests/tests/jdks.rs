//! The JVM's own word: each Java frame of a captured stack is the one that the JVM itself has there, on every JDK, under
//! every flag that changes frames, for every kind of frame.

use std::collections::BTreeMap;
use std::time::Instant;

use offheap::capture::{Capture, FrameKind};
use offheap_tests::checks::stack;
use offheap_tests::jdk::{Jdk, RELEASES};
use offheap_tests::occurrences::Occurrences;
use offheap_tests::session::{is_full, skip};
use offheap_tests::sources::jni_includes;
use offheap_tests::witness::{Agreement, Case, is_java};
use offheap_tests::{CFlags, Target, Tool, c_library, classpath, classpath_8, session};

/// A usual run takes the first two on each JDK and all of these on the installed one; with `OFFHEAP_FULL=1` each takes all
/// that it has, those below included.
const FLAGS: [&[&str]; 19] = [
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
    &["-XX:TieredStopAtLevel=2"],
    &["-XX:TieredStopAtLevel=3"],
    &[
        "-XX:+UnlockExperimentalVMOptions",
        "-XX:+UseZGC",
        "-XX:+ZGenerational",
    ],
    &["-XX:-UseCompressedOops"],
    &["-XX:-UseCompressedClassPointers"],
    &[
        "-XX:+UnlockExperimentalVMOptions",
        "-XX:+UseCompactObjectHeaders",
    ],
];
const USUAL: usize = 13;
const EVERYWHERE: usize = 2;
/// Methods that only the interpreter runs, so that it calls compiled code and is called by it.
const INTERPRETED: [&str; 2] = [
    "-XX:CompileCommand=quiet",
    "-XX:CompileCommand=exclude,targets/Mixed.interpreted",
];
/// Enough for all tiers.
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
    let classpath = if jdk.release < 9 {
        classpath_8()?
    } else {
        classpath()?
    };
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
    let mut java = jdk.java(&classpath, &[&INTERPRETED[..], flags].concat(), "Witness");
    let means = if is_full() { "all" } else { "some" };
    let mut target = Target::start(java.arg(library).args([rounds, means]));
    let exact = ["--sample-bytes", "0", "--ring-bytes", "256m"];
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
fn faults(run: &Run, flags: &[&str], release: u32) -> Vec<String> {
    let occurrences = Occurrences {
        capture: &run.capture,
        cases: &run.cases,
        flags,
        release,
    };
    let mut faults = occurrences.missing();
    for case in &run.cases {
        let name = format!("{} by {}", case.path, case.means);
        match case
            .site(&run.capture)
            .and_then(|site| Ok((site, case.compare(site)?)))
        {
            Err(fault) => faults.push(format!("{name}: {fault}")),
            Ok((_, agreement)) if !shown(case, flags).contains(&agreement) => {
                faults.push(format!("{name} shows {agreement:?}"));
            }
            Ok(_) => {}
        }
    }
    let jvm = run.capture.target.jvm.as_ref();
    if jvm.is_none_or(|jvm| jvm.unsupported.is_some()) {
        faults.push(format!("the JVM is not understood: {jvm:?}"));
    }
    let losses = &run.capture.losses;
    if !losses.is_empty() {
        faults.push(format!("the tracer has lost something: {losses:?}"));
    }
    faults.extend(incomplete(&run.capture, flags));
    faults
}

/// How much of its stack a case may show.
fn shown(case: &Case, flags: &[&str]) -> &'static [Agreement] {
    match case.path.as_str() {
        "parkedVirtualThread" => &[Agreement::Unparked],
        // Compiled frames come back all at once, those of the interpreter two by two.
        "unparkedVirtualThread" if flags == ["-Xint"] => &[Agreement::Unparked],
        "unparkedVirtualThread" => &[Agreement::Unparked, Agreement::Whole],
        // Interpreted, so many frames are larger than what is copied at most.
        "recursion1000" if flags == ["-Xint"] => &[Agreement::LeafSide],
        _ => &[Agreement::Whole],
    }
}

/// Of all that the JVM allocates, and not only of the cases: stacks that end before the thread's root, where they were
/// copied in whole. The JVM's own are cut off where it patches first calls within first calls, all compiled.
fn incomplete(capture: &Capture, flags: &[&str]) -> Option<String> {
    let completeness = &capture.completeness;
    let truncated = completeness.ends.get("truncated").copied().unwrap_or(0);
    let excused = [["-Xint"], ["-Xcomp"]].iter().any(|deep| flags == deep);
    let whole = completeness.complete + if excused { truncated } else { 0 };
    if completeness.complete > 0 && whole == completeness.stacks {
        return None;
    }
    let cut = capture.sites.iter().filter(|site| site.stack_end != "root");
    let cut: Vec<String> = cut.take(5).map(stack).collect();
    Some(format!(
        "not all stacks are complete: {completeness:?}\n{}",
        cut.concat()
    ))
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
        [level] if level.starts_with("-XX:TieredStopAtLevel") => (&[C1, Inlined], &[C2]),
        ["-XX:-TieredCompilation"] => (&[C2, Inlined], &[C1]),
        ["-Xcomp"] => (&[Inlined], &[]),
        ["-XX:-Inline"] => (&[C2], &[]),
        _ => (&[C2, Inlined], &[]),
    }
}

/// Runs the rows and fails with all that is wrong in any of them.
fn check(rows: &[(Jdk, &[&str])]) {
    let mut all = Vec::new();
    // For the hand: only rows whose description contains this.
    let only = std::env::var("OFFHEAP_ROWS").unwrap_or_default();
    for (jdk, flags) in rows {
        if !format!("JDK {jdk} {flags:?}").contains(&only) {
            continue;
        }
        if !jdk.has(flags) {
            println!("JDK {jdk} has no {flags:?}");
            continue;
        }
        let begun = Instant::now();
        let Some(run) = run(jdk, flags) else { return };
        let (faults, kinds) = (faults(&run, flags, jdk.release), kinds(&run));
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
        for fault in faults {
            println!("JDK {jdk} {flags:?}: {fault}");
            all.push(format!("JDK {jdk} {flags:?}: {fault}"));
        }
    }
    assert!(all.is_empty(), "{} faults\n{}", all.len(), all.join("\n"));
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

/// On releases that no wheel carries, and in builds of another vendor, every Java frame is the JVM's own, too. They run
/// in a root folder of their own with a C library of their own.
#[test]
fn every_debian_jdk_agrees() {
    if !is_full() {
        return skip("--full (the JDKs of Debian's unstable distribution)");
    }
    let Some(_session) = session() else { return };
    let jdks = Jdk::debian();
    // The wheels of the other releases run under all flags.
    let flags = |jdk: &Jdk| {
        let is_wheel = RELEASES.contains(&jdk.release.to_string().as_str());
        &FLAGS[..if is_wheel { EVERYWHERE } else { FLAGS.len() }]
    };
    let rows = jdks
        .iter()
        .flat_map(|jdk| flags(jdk).iter().map(|flags| (jdk.clone(), *flags)));
    check(&rows.collect::<Vec<_>>());
}

/// A JVM without generated code has native stacks, complete but for what was not copied (it keeps a stack for Java on each
/// thread's own, larger than the copy), and the report says why no Java frame is on them.
#[test]
fn zero_has_native_stacks() {
    if !is_full() {
        return skip("--full (the Zero VM of Debian's unstable distribution)");
    }
    let Some(_session) = session() else { return };
    let Some(jdk) = Jdk::zero() else { return };
    let Some(run) = run(&jdk, &["-zero"]) else {
        return;
    };
    let jvm = run.capture.target.jvm.as_ref().expect("it is a JVM");
    let reason = jvm.unsupported.as_deref().unwrap_or_default();
    assert!(reason.contains("Zero"), "{jvm:?}");
    let completeness = &run.capture.completeness;
    let truncated = completeness.ends.get("truncated").copied().unwrap_or(0);
    assert!(completeness.complete > 0, "{completeness:?}");
    let whole = completeness.complete + truncated;
    assert_eq!(whole, completeness.stacks, "{completeness:?}");
    let mut frames = run.capture.sites.iter().flat_map(|site| &site.frames);
    assert!(
        !frames.any(|frame| is_java(frame)),
        "a Java frame of a JVM that has none"
    );
}

/// Under each flag that changes compilers, frames, code heaps or collectors every Java frame is the JVM's own.
#[test]
fn every_flag_agrees() {
    let Some(_session) = session() else { return };
    let Some(jdk) = Jdk::installed() else {
        return skip("java");
    };
    let flags = &FLAGS[..if is_full() { FLAGS.len() } else { USUAL }];
    let rows: Vec<(Jdk, &[&str])> = flags.iter().map(|flags| (jdk.clone(), *flags)).collect();
    check(&rows);
}
