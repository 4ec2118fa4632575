//! Deflaters that nobody ends, behind an HTTP handler.

use offheap::capture::{Capture, SiteKind};
use offheap::report::units::Bytes;
use offheap::triage::verdict::Cause;

use super::{Played, Row, Scenario, Stage, rows};
use crate::checks::{sites_through, sum};
use crate::triage::last;
use crate::truth::differences;
use crate::{Finished, Truth};

const HEAP: u64 = 48 << 20;
const HANDLER: &str = "targets.GzipServer$GzipHandler.handle";
/// What zlib takes for a Deflater of the default settings (`deflateInit2` with 15 window bits and memory level 8): the
/// window, two tables and what is pending are 64 KiB each, and its own state some KiB; zlib-ng and others take more.
const STREAM: std::ops::RangeInclusive<u64> = (256 << 10)..=(300 << 10);
/// What the JVM's compilers and the server's threads take besides.
const OTHER: u64 = 16 << 20;

pub const DEFLATERS: Scenario = Scenario {
    name: "deflaters",
    shows: "Deflaters forgotten behind a gzip HTTP handler, heap far below RSS: native memory, and the handler by name",
    rows: || rows::with(&["-XX:+UseG1GC", "-Xms48m", "-Xmx48m", "-XX:+AlwaysPreTouch"]),
    play: deflaters,
};

fn deflaters(stage: &mut Stage, row: &Row) -> Played {
    let mut target = stage.java(row, "GzipServer", &["leaky"])?;
    let (report, told) = stage.looks(&mut target, 3);
    stage.verdict(&report, &[Cause::Native]);
    let forgotten = told.iter().filter_map(|truth| truth.outstanding_count);
    let forgotten: u64 = forgotten.sum();
    let bounds = of(forgotten);
    stage.within(
        &format!("growth of native memory by {forgotten} Deflaters"),
        report.verdict[0].bytes,
        *bounds.start() * 9 / 10..=*bounds.end() + OTHER,
    );
    let rss = last(&report).rss;
    stage.holds(
        rss > 4 * HEAP,
        format!(
            "RSS is {}, over four times the heap's {}",
            Bytes(rss),
            Bytes(HEAP)
        ),
    );

    let tool = stage.capture(&target);
    let told = target.work();
    let (capture, finished) = stage.captured(&target, tool);
    named(stage, &capture, &told, &finished);
    adds_up(stage, &capture, told[0].outstanding_count.unwrap_or(0));
    Ok(())
}

/// The capture says what the server says, and its verdict names the handler.
fn named(stage: &mut Stage, capture: &Capture, told: &[Truth], finished: &Finished) {
    stage.equal(
        "differences from what the server says",
        differences(capture, told),
        vec![],
    );
    let forgotten = told[0].outstanding_count.unwrap_or(0);
    let begins = format!("{forgotten} Deflaters (");
    let goes_on = format!("opened by {HANDLER} and not ended");
    let verdict = finished.stdout.iter().take_while(|line| !line.is_empty());
    let named = verdict.filter(|line| line.starts_with(&begins) && line.contains(&goes_on));
    stage.equal(
        "sentences that name the handler with that number",
        named.count(),
        1,
    );
}

/// Streams, malloc's blocks and the change of RSS are the same memory.
fn adds_up(stage: &mut Stage, capture: &Capture, forgotten: u64) {
    let bytes = |kind| sum(&sites_through(capture, kind, HANDLER)).outstanding_bytes;
    let (streams, blocks) = (bytes(SiteKind::Deflate), bytes(SiteKind::Malloc));
    stage.within("held by the streams", streams, of(forgotten));
    stage.within(
        "malloc blocks below the handler",
        blocks,
        streams..=streams + (1 << 20),
    );
    let sum = capture.memory.reconciliation;
    let change = sum.map_or(0, |sum| sum.rss_delta);
    stage.within(
        "change of RSS in the window",
        u64::try_from(change).unwrap_or(0),
        blocks * 9 / 10..=blocks + OTHER,
    );
}

/// What `count` streams take.
fn of(count: u64) -> std::ops::RangeInclusive<u64> {
    count * STREAM.start()..=count * STREAM.end()
}
