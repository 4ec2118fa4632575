//! Native blocks: those that nobody frees, and those that were freed and that malloc keeps.

use offheap::triage::verdict::Cause;

use super::{Played, Row, Scenario, Stage, rows};

/// What `Incidents` does at a step.
const BLOCKS: u64 = 24 << 20;
const BURST: u64 = 4000 * 60_000;

pub const RETENTION: Scenario = Scenario {
    name: "retention",
    shows: "a burst of blocks that were freed again: malloc keeps the memory, and nothing leaks",
    rows: rows::usual,
    play: retention,
};

pub const NATIVE_BLOCKS: Scenario = Scenario {
    name: "native-blocks",
    shows: "blocks of malloc that nobody frees: native memory, with the capture that finds their stacks",
    rows: rows::usual,
    play: native_blocks,
};

fn retention(stage: &mut Stage, row: &Row) -> Played {
    let mut target = stage.java(row, "Incidents", &["burst"])?;
    let tool = stage.capture(&target);
    target.work();
    let (capture, finished) = stage.captured(&target, tool);
    let bounds = BURST * 8 / 10..=BURST * 21 / 20;
    let kept = capture
        .memory
        .reconciliation
        .map_or(0, |sum| sum.allocator_free);
    let kept = u64::try_from(kept).unwrap_or(0);
    stage.within(
        "freed in the window and kept by malloc",
        kept,
        bounds.clone(),
    );
    let verdict = finished.stdout.iter().take_while(|line| !line.is_empty());
    let says = verdict.filter(|line| line.starts_with("malloc keeps ") && line.contains("no leak"));
    stage.equal("sentences that say so", says.count(), 1);
    // The burst is over before the first look.
    let report = stage.look(&target);
    stage.verdict(&report, &[Cause::RetainedByMalloc]);
    stage.within("kept by malloc", report.verdict[0].bytes, bounds);
    Ok(())
}

fn native_blocks(stage: &mut Stage, row: &Row) -> Played {
    let mut target = stage.java(row, "Incidents", &["native"])?;
    let (report, _) = stage.looks(&mut target, 3);
    stage.verdict(&report, &[Cause::Native]);
    let leaked = 3 * BLOCKS;
    stage.within(
        "native growth",
        report.verdict[0].bytes,
        leaked..=leaked * 5 / 4,
    );
    let next = &report.verdict[0].next;
    stage.holds(
        next.iter()
            .any(|line| line.contains("offheap capture") && line.contains("malloc,zlib")),
        "the next command hooks malloc and zlib",
    );
    Ok(())
}
