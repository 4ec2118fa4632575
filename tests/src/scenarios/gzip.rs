//! Deflaters that nobody ends, behind an HTTP handler.

use offheap::capture::SiteKind;
use offheap::triage::verdict::Cause;

use super::{Played, Row, Scenario, Stage, rows};
use crate::checks::{sites_through, sum};
use crate::triage::last;
use crate::truth::differences;

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
    let forgotten: u64 = told
        .iter()
        .filter_map(|truth| truth.outstanding_count)
        .sum();
    let bounds = of(forgotten);
    stage.within(
        &format!("growth of native memory by {forgotten} Deflaters"),
        report.verdict[0].bytes,
        *bounds.start() * 9 / 10..=*bounds.end() + OTHER,
    );
    stage.holds(
        last(&report).rss > 4 * HEAP,
        format!(
            "RSS is {} bytes, over four times the heap's limit",
            last(&report).rss
        ),
    );

    let tool = stage.capture(&target);
    let told = target.work();
    let (capture, finished) = stage.captured(&target, tool);
    let forgotten = told[0].outstanding_count.unwrap_or(0);
    stage.equal(
        "differences from what the server says",
        differences(&capture, &told),
        vec![],
    );
    let sentence = format!("{forgotten} Deflaters (");
    let verdict = finished.stdout.iter().take_while(|line| !line.is_empty());
    let named = verdict.filter(|line| {
        line.starts_with(&sentence) && line.contains(&format!("opened by {HANDLER} and not ended"))
    });
    stage.equal(
        "sentences that name the handler with that number",
        named.count(),
        1,
    );
    let bytes = |kind| sum(&sites_through(&capture, kind, HANDLER)).outstanding_bytes;
    let (streams, blocks) = (bytes(SiteKind::Deflate), bytes(SiteKind::Malloc));
    stage.within("held by the streams", streams, of(forgotten));
    stage.within(
        "malloc blocks below the handler",
        blocks,
        streams..=streams + (1 << 20),
    );
    stage.within(
        "change of RSS in the window",
        capture
            .memory
            .reconciliation
            .map_or(0, |sum| u64::try_from(sum.rss_delta).unwrap_or(0)),
        blocks * 9 / 10..=blocks + OTHER,
    );
    Ok(())
}

/// What `count` streams take.
fn of(count: u64) -> std::ops::RangeInclusive<u64> {
    count * STREAM.start()..=count * STREAM.end()
}
