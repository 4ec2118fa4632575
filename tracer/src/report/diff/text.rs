//! The comparison for people.

use std::io::{self, Write};

use super::{Diff, Relation, SiteDiff};
use crate::capture::{Capture, Site};
use crate::report::listing::kind_word;
use crate::report::units::{Bytes, Count, Delta, Seconds};
use crate::report::verdict::{counted, mark, unit};
use crate::report::{caller, clean, evolution};

pub(super) fn write(diff: &Diff<'_>, top: usize, out: &mut dyn Write) -> io::Result<()> {
    let (base, new, estimated) = diff.totals();
    let sign = mark(estimated);
    writeln!(
        out,
        "Outstanding: {sign}{} in BASE, {sign}{} in NEW: {sign}{}{}.",
        Bytes(base),
        Bytes(new),
        Delta(i128::from(new) - i128::from(base)),
        rate(diff.rate(base, new), estimated),
    )?;
    for warning in &diff.warnings {
        writeln!(out, "Careful: {warning}.")?;
    }
    writeln!(out, "\nBASE  {}\nNEW   {}", side(diff.base), side(diff.new))?;
    writeln!(out, "{}", meaning(diff.relation))?;
    let changed: Vec<&SiteDiff<'_>> = diff
        .sites
        .iter()
        .filter(|site| !site.is_unchanged())
        .collect();
    let unchanged = (diff.sites.len() - changed.len()) as u64;
    writeln!(
        out,
        "\n{} by change of outstanding bytes; {} unchanged",
        title(top, changed.len()),
        counted(unchanged, "site")
    )?;
    for (rank, site) in changed.iter().take(top).enumerate() {
        write_site(diff, rank + 1, site, out)?;
    }
    Ok(())
}

fn title(top: usize, changed: usize) -> String {
    match changed {
        0 => "No site changed".to_owned(),
        _ => format!(
            "Top {} of {}",
            top.min(changed),
            counted(changed as u64, "changed site")
        ),
    }
}

fn side(capture: &Capture) -> String {
    let target = &capture.target;
    format!(
        "{} (pid {}), {} window until {}, {}",
        clean::name(&target.comm),
        target.pid,
        Seconds(capture.window.seconds),
        clean::name(&capture.window.end),
        match capture.settings.sample_bytes {
            0 => "exact".to_owned(),
            interval => format!("malloc sampled every {}", Bytes(interval)),
        }
    )
}

fn meaning(relation: Relation) -> String {
    match relation {
        Relation::SameRun { seconds } => format!(
            "One attach, {} apart: what changed, changed in this time",
            Seconds(seconds.abs())
        ),
        Relation::TwoRuns => "Two attaches: each counts what was allocated since its own; rates are bytes outstanding per \
                              hour of window, NEW less BASE"
            .to_owned(),
    }
}

fn write_site(
    diff: &Diff<'_>,
    rank: usize,
    site: &SiteDiff<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let stream = matches!(unit(site.site.kind), "stream");
    let (sign, count_sign) = (mark(site.estimated()), mark(site.estimated() && !stream));
    let (base, new) = site.amounts();
    let only = match (site.base, site.new) {
        (None, _) => ", only in NEW",
        (_, None) => ", only in BASE",
        _ => "",
    };
    writeln!(
        out,
        "\n#{rank} {}: {sign}{}{}, {count_sign}{} {}{only}: {}",
        kind_word(site.site.kind),
        Delta(site.bytes()),
        rate(diff.bytes_per_hour(site), site.estimated()),
        signed(site.count()),
        plural(site.count(), unit(site.site.kind)),
        caller::line(site.site),
    )?;
    writeln!(
        out,
        "   {sign}{} in {count_sign}{} -> {sign}{} in {count_sign}{}",
        Bytes(base.bytes),
        Count(base.count),
        Bytes(new.bytes),
        Count(new.count)
    )?;
    if !diff.counts(site) {
        writeln!(
            out,
            "   not in the sum: the same bytes stand at other sites"
        )?;
    }
    write_stack(site.site, out)
}

fn write_stack(site: &Site, out: &mut dyn Write) -> io::Result<()> {
    for frame in &site.frames {
        let place = match (&frame.file, frame.line) {
            (Some(file), Some(line)) => format!("  {}:{line}", clean::name(file)),
            _ => String::new(),
        };
        let module = match &frame.module {
            Some(module) => format!("  {}", clean::name(module)),
            None => String::new(),
        };
        writeln!(out, "     {}{module}{place}", clean::name(&frame.name))?;
    }
    Ok(())
}

fn rate(bytes_per_hour: Option<f64>, estimated: bool) -> String {
    match bytes_per_hour {
        Some(rate) => format!(" ({}{})", mark(estimated), evolution::rate(rate)),
        None => String::new(),
    }
}

/// `+12`, `-3`, `+0`.
fn signed(count: i128) -> String {
    let sign = if count < 0 { '-' } else { '+' };
    let magnitude = u64::try_from(count.unsigned_abs()).unwrap_or(u64::MAX);
    format!("{sign}{}", Count(magnitude))
}

fn plural(count: i128, unit: &str) -> String {
    let end = if count.unsigned_abs() == 1 { "" } else { "s" };
    format!("{unit}{end}")
}
