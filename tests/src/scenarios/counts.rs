//! What grows in number: descriptors, threads, class loaders, direct buffers.

use offheap::triage::reading::{Jvm, Summary};
use offheap::triage::report::Report;
use offheap::triage::verdict::Cause;

use super::{Played, Row, Scenario, Stage, rows};
use crate::jdk::Jdk;
use crate::triage::{COLLECTORS, STEADY, causes, last};

/// Steps of each, and what `Incidents` does at one.
const STEPS: usize = 3;
const SELECTORS_A_STEP: u64 = 60;
const THREADS_A_STEP: u64 = 100;
const LOADERS_A_STEP: u64 = 700;
const BUFFERS_A_STEP: u64 = 24;

pub const SELECTORS: Scenario = Scenario {
    name: "selectors",
    shows: "selectors that nobody closes: descriptors grow, and the Java heap with them",
    rows: || rows::with(&["-XX:+UseG1GC", "-Xms64m", "-Xmx64m"]),
    play: selectors,
};

pub const THREADS: Scenario = Scenario {
    name: "threads",
    shows: "threads that never end: named by their pattern",
    rows: rows::usual,
    play: threads,
};

pub const CLASS_LOADERS: Scenario = Scenario {
    name: "class-loaders",
    shows: "loaders that define the same classes again and again: metaspace grows with class loaders",
    rows: rows::usual,
    play: class_loaders,
};

pub const DIRECT_BUFFERS: Scenario = Scenario {
    name: "direct-buffers",
    shows: "direct buffers that are kept: told apart from other native memory, to the byte",
    rows: direct_rows,
    play: direct_buffers,
};

fn play(stage: &mut Stage, row: &Row, kind: &str) -> Result<Report, super::Missing> {
    let mut target = stage.java(row, "Incidents", &[kind])?;
    Ok(stage.looks(&mut target, STEPS).0)
}

/// How much a number has grown from the first look to the last.
fn more(report: &Report, count: impl Fn(&Summary) -> Option<u64>) -> u64 {
    let [first, last] = [&report.looks[0], last(report)].map(|look| count(look).unwrap_or(0));
    last.saturating_sub(first)
}

fn jvm(look: &Summary) -> Option<&Jvm> {
    look.facts.jvm.as_ref()
}

fn selectors(stage: &mut Stage, row: &Row) -> Played {
    let report = play(stage, row, "descriptors")?;
    let found = causes(&report);
    stage.equal(
        "the first cause",
        found.first(),
        Some(&Cause::DescriptorsWithHeap),
    );
    let epoll = |look: &Summary| look.facts.descriptors.as_ref()?.kinds.get("epoll").copied();
    let opened = STEPS as u64 * SELECTORS_A_STEP;
    stage.equal("epoll descriptors more", more(&report, epoll), opened);
    Ok(())
}

fn threads(stage: &mut Stage, row: &Row) -> Played {
    let report = play(stage, row, "threads")?;
    let found = causes(&report);
    stage.equal("the first cause", found.first(), Some(&Cause::Threads));
    let started = STEPS as u64 * THREADS_A_STEP;
    let says = &report.verdict[0].says;
    stage.holds(
        says.contains(&format!("{started} more of `leak-#`")),
        format!("{started} were started: {says}"),
    );
    stage.equal(
        "threads more",
        more(&report, |look| jvm(look)?.java_threads),
        started,
    );
    Ok(())
}

fn class_loaders(stage: &mut Stage, row: &Row) -> Played {
    let report = play(stage, row, "loaders")?;
    stage.verdict(&report, &[Cause::ClassLoaders]);
    let made = STEPS as u64 * LOADERS_A_STEP;
    let found = more(&report, |look| jvm(look)?.class_loaders);
    // Lambdas of the JDK may take some of their own.
    stage.holds(
        (made..made + 10).contains(&found),
        format!("class loaders more: {found}, in truth {made}"),
    );
    Ok(())
}

/// Not with ZGC: between two of its collections the counters may lie behind references that nobody but it can follow.
fn direct_rows() -> Vec<Row> {
    let row = |(jdk, collector): (Jdk, &&'static str)| Row {
        jdk,
        flags: [&STEADY[..], &[collector, "-XX:MaxDirectMemorySize=512m"]].concat(),
    };
    let mut rows: Vec<Row> = crate::triage::jdk()
        .map(|jdk| row((jdk, &COLLECTORS[0])))
        .into_iter()
        .collect();
    rows.extend(
        Jdk::downloaded()
            .into_iter()
            .zip(COLLECTORS[..3].iter().cycle())
            .map(row),
    );
    rows
}

fn direct_buffers(stage: &mut Stage, row: &Row) -> Played {
    let report = play(stage, row, "direct")?;
    stage.verdict(&report, &[Cause::DirectBuffers]);
    let made = STEPS as u64 * BUFFERS_A_STEP;
    let bytes = made << 20;
    stage.equal(
        "bytes that the verdict is about",
        report.verdict[0].bytes,
        bytes,
    );
    let count = |look: &Summary| Some(jvm(look)?.direct?.count);
    let capacity = |look: &Summary| Some(jvm(look)?.direct?.capacity);
    stage.equal("buffers more", more(&report, count), made);
    stage.equal("bytes in buffers more", more(&report, capacity), bytes);
    let max = jvm(last(&report))
        .and_then(|jvm| jvm.direct)
        .map(|direct| direct.max);
    stage.equal("what the JVM allows", max, Some(512 << 20));
    Ok(())
}
