//! The report for people: the verdict, the top sites with their stacks, and how it was measured.
//!
//! See `docs/formats/text.md`.

mod completeness;
mod honesty;
mod probes;
mod sites;

use std::io::{self, Write};

use crate::capture::Capture;
use crate::report::units::{Bytes, Count, Seconds};
use crate::report::verdict::{self, Finding, mark};
use crate::report::{Options, accounting, clean, evolution};

pub(super) use sites::{overlap, owner_text};

/// Writes the whole report.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, options: &Options, out: &mut dyn Write) -> io::Result<()> {
    let paint = Paint {
        color: options.color,
    };
    let shown = options.filter.select(capture);
    for finding in verdict::findings(capture, &shown) {
        writeln!(
            out,
            "{}.",
            paint.apply(style(&finding), &finding.to_string())
        )?;
    }
    let (bytes, estimated) = accounting::total(capture, &shown);
    writeln!(
        out,
        "\n{} (pid {}), {} window: {}{} outstanding at {} of {} sites.",
        clean::name(&capture.target.comm),
        capture.target.pid,
        Seconds(capture.window.seconds),
        mark(estimated),
        Bytes(bytes),
        Count(shown.len() as u64),
        Count(capture.sites.len() as u64),
    )?;
    write_course(capture, out)?;
    sites::write(capture, &shown, options, paint, out)?;
    honesty::write(capture, paint, out)
}

/// How loud a finding is said.
pub(super) fn style(finding: &Finding) -> Style {
    match finding {
        Finding::OpenStreams { .. } | Finding::EndedByCleaner { .. } | Finding::OomKilled(_) => {
            Style::Alarm
        }
        Finding::StacksIncomplete { .. }
        | Finding::NoJavaFrames { .. }
        | Finding::TargetEnded
        | Finding::GrewElsewhere(_) => Style::Warning,
        _ => Style::Strong,
    }
}

/// Writes the honesty block alone, without colours.
///
/// # Errors
/// Those of the writer.
pub fn write_honesty(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    honesty::write(capture, Paint { color: false }, out)
}

/// What the readings of the whole say.
pub(super) fn write_course(capture: &Capture, out: &mut dyn Write) -> io::Result<()> {
    let Some(series) = &capture.series else {
        return Ok(());
    };
    let estimated = capture.sites.iter().any(|site| site.estimated);
    let rows = [
        ("Outstanding", &series.outstanding_trend, estimated),
        ("RSS", &series.rss_trend, false),
    ];
    for (name, trend, estimated) in rows {
        if let Some(trend) = trend {
            writeln!(out, "{name}: {}.", evolution::sentence(trend, estimated))?;
        }
    }
    Ok(())
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Alarm,
    Warning,
    Strong,
    Faint,
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
struct Paint {
    color: bool,
}

impl Paint {
    fn apply(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Alarm => "1;31",
            Style::Warning => "33",
            Style::Strong => "1",
            Style::Faint => "2",
        };
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
