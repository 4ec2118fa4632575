//! A heap that fills with queued objects until collections free nothing.

use offheap::triage::owners::Kind;
use offheap::triage::verdict::Cause;

use super::{Played, Row, Scenario, Stage, rows};
use crate::triage::{causes, last};

pub const HEAP_FULL: Scenario = Scenario {
    name: "heap-full",
    shows: "queued objects fill the Java heap until collections free nothing: the heap, and not native memory",
    rows: rows::collectors,
    play: heap_full,
};

fn heap_full(stage: &mut Stage, row: &Row) -> Played {
    let mut target = stage.java(row, "Incidents", &["heap"])?;
    // It is full before the first look, and the service goes on.
    target.work();
    let (report, _) = stage.looks(&mut target, 2);
    let expected = match row.jdk.release {
        // The first ZGC counts no collections: nobody can know what they leave.
        11 if row.flags.contains(&"-XX:+UseZGC") => Cause::HeapHigh,
        _ => Cause::HeapFull,
    };
    let found = causes(&report);
    stage.equal("the first cause", found.first(), Some(&expected));
    let native = [Cause::Native, Cause::NativeLarge, Cause::Unknown];
    stage.holds(
        !found.iter().any(|cause| native.contains(cause)),
        format!("no cause is native memory: {found:?}"),
    );
    let next = &report.verdict[0].next;
    stage.holds(
        next.iter().any(|line| line.contains("GC.class_histogram")),
        "a histogram is advised",
    );
    let heap = last(&report)
        .owners
        .iter()
        .find(|owner| owner.kind == Kind::JavaHeap);
    let heap = heap.map_or(0, |owner| owner.resident);
    let limit = last(&report)
        .facts
        .jvm
        .as_ref()
        .and_then(|jvm| jvm.heap.max);
    stage.within(
        "what is said to be in use",
        report.verdict[0].bytes,
        // Serial and Parallel give two thirds to the old generation, and speak of that.
        heap * 6 / 10..=limit.unwrap_or(0),
    );
    Ok(())
}
