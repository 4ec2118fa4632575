//! The comparison as JSON, schema `offheap.diff/1`.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::{Amount, Diff, Relation, SiteDiff};
use crate::capture::{Capture, Frame, SiteKind, Window};

/// The value of `schema`.
const SCHEMA: &str = "offheap.diff/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    base: Side<'a>,
    new: Side<'a>,
    /// Of one attach; the rates are then of the time between the captures.
    same_run: bool,
    /// Between the captures, where they are of one attach.
    seconds: Option<f64>,
    warnings: &'a [String],
    total: Change,
    sites: Vec<SiteChange<'a>>,
}

#[derive(Serialize)]
struct Side<'a> {
    pid: u32,
    start_ticks: u64,
    comm: &'a str,
    window: &'a Window,
    sample_bytes: u64,
}

#[derive(Serialize)]
struct SiteChange<'a> {
    kind: SiteKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<&'a str>,
    estimated: bool,
    /// `base` or `new`, where the other has no such site.
    only_in: Option<&'static str>,
    #[serde(flatten)]
    change: Change,
    base: Option<Numbers>,
    new: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<&'a str>,
    stack_end: &'a str,
    frames: &'a [Arc<Frame>],
}

/// Gains; negative where something shrank.
#[derive(Serialize)]
struct Change {
    growth_bytes: i128,
    growth_count: i128,
    bytes_per_hour: Option<f64>,
}

#[derive(Serialize)]
struct Numbers {
    outstanding_bytes: u64,
    outstanding_count: u64,
    allocated_bytes: u64,
    allocated_count: u64,
}

pub(super) fn write(diff: &Diff<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (base, new, _) = diff.totals();
    let counted = diff.sites.iter().filter(|site| diff.counts(site));
    let document = Document {
        schema: SCHEMA,
        base: side(diff.base),
        new: side(diff.new),
        same_run: matches!(diff.relation, Relation::SameRun { .. }),
        seconds: match diff.relation {
            Relation::SameRun { seconds } => Some(seconds),
            Relation::TwoRuns => None,
        },
        warnings: &diff.warnings,
        total: Change {
            growth_bytes: i128::from(new) - i128::from(base),
            growth_count: counted.map(SiteDiff::count).sum(),
            bytes_per_hour: diff.rate(base, new),
        },
        sites: diff.sites.iter().map(|site| change(diff, site)).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

fn side(capture: &Capture) -> Side<'_> {
    Side {
        pid: capture.target.pid,
        start_ticks: capture.target.start_ticks,
        comm: &capture.target.comm,
        window: &capture.window,
        sample_bytes: capture.settings.sample_bytes,
    }
}

fn change<'a>(diff: &Diff<'_>, site: &'a SiteDiff<'_>) -> SiteChange<'a> {
    SiteChange {
        kind: site.site.kind,
        pair: site.site.pair.as_deref(),
        estimated: site.estimated(),
        only_in: match (site.base, site.new) {
            (Some(_), None) => Some("base"),
            (None, Some(_)) => Some("new"),
            _ => None,
        },
        change: Change {
            growth_bytes: site.bytes(),
            growth_count: site.count(),
            bytes_per_hour: diff.bytes_per_hour(site),
        },
        base: site.base.map(Numbers::from),
        new: site.new.map(Numbers::from),
        thread: site.site.thread.as_deref(),
        stack_end: &site.site.stack_end,
        frames: &site.site.frames,
    }
}

impl From<Amount> for Numbers {
    fn from(amount: Amount) -> Numbers {
        Numbers {
            outstanding_bytes: amount.bytes,
            outstanding_count: amount.count,
            allocated_bytes: amount.allocated_bytes,
            allocated_count: amount.allocated_count,
        }
    }
}
