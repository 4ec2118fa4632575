//! The list of top sites.

use std::io::{self, Write};

use super::{Paint, Style};
use crate::capture::{Capture, Frame, FrameKind, Owner, Site, SiteKind};
use crate::report::listing::{Listing, count_estimated, is_opened, is_stream, kind_word};
use crate::report::units::{Bytes, Count, Seconds, Share};
use crate::report::verdict::{counted, mark, unit};
use crate::report::{Options, accounting, caller, clean, evolution};

pub(super) fn write(
    capture: &Capture,
    shown: &[&Site],
    options: &Options,
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let listing = Listing::new(capture, shown, options.sort);
    if listing.sites.is_empty() || options.top == 0 {
        return Ok(());
    }
    let total = accounting::total(capture, shown);
    let listed = options.top.min(listing.sites.len());
    let title = format!(
        "Top {listed} of {} sites by {}",
        listing.sites.len(),
        options.sort.words()
    );
    writeln!(out, "\n{}", paint.apply(Style::Strong, &title))?;
    for (rank, site) in listing.sites.iter().take(listed).enumerate() {
        write_site(capture, rank + 1, site, total, paint, out)?;
    }
    if listing.hidden > 0 {
        let hidden = counted(listing.hidden, "malloc site");
        writeln!(
            out,
            "\nNot listed: {hidden} with the blocks of streams that have the same callers"
        )?;
    }
    Ok(())
}

fn write_site(
    capture: &Capture,
    rank: usize,
    site: &Site,
    total: (u64, bool),
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "\n{}",
        paint.apply(
            Style::Strong,
            &format!("#{rank} {}", headline(capture, site, total))
        )
    )?;
    for line in details(capture, site) {
        writeln!(out, "   {line}")?;
    }
    write_stack(site, paint, out)
}

/// `deflate: 308 MiB in 1,204 streams, 7,224 blocks; 26 % of all`.
fn headline(capture: &Capture, site: &Site, (total, total_estimated): (u64, bool)) -> String {
    let sign = mark(site.estimated);
    if site.kind == SiteKind::Pair {
        return of_pair(site);
    }
    let mut text = format!(
        "{}: {sign}{} in {}{}",
        kind_word(site.kind),
        Bytes(site.outstanding_bytes),
        mark(count_estimated(site)),
        counted(site.outstanding_count, unit(site.kind)),
    );
    if site.blocks > 0 {
        text += &format!(", {sign}{}", counted(site.blocks, "malloc block"));
    }
    let stream = is_stream(site);
    if site.outstanding_bytes > 0 && (stream || accounting::counts(site, &capture.settings.hooks)) {
        let share = Share::of(site.outstanding_bytes, total);
        text += &format!(
            "; {}{share} of all",
            mark(site.estimated || total_estimated)
        );
    }
    text
}

/// `pair: 412 RocksDB iterators; opening them took 1.6 MiB in 824 malloc blocks`.
fn of_pair(site: &Site) -> String {
    let sign = mark(site.estimated);
    let noun = site.pair.as_deref().unwrap_or(unit(site.kind));
    let mut text = format!(
        "{}: {}",
        kind_word(site.kind),
        counted(site.outstanding_count, &clean::name(noun)),
    );
    if site.blocks > 0 {
        text += &format!(
            "; opening them took {sign}{} in {sign}{}",
            Bytes(site.outstanding_bytes),
            counted(site.blocks, "malloc block")
        );
    }
    text
}

fn details(capture: &Capture, site: &Site) -> Vec<String> {
    let mut lines = vec![ages(site), history(site)];
    if let Some(owner) = site.owner {
        lines.push(owner_text(owner, site.reserved_bytes));
    }
    if site.freed_by_cleaner > 0 {
        let sign = mark(count_estimated(site));
        let cleaners = match site.kind {
            SiteKind::Pair => "Common-Cleaner, another Cleaner or Finalizer",
            _ => "Common-Cleaner or Finalizer",
        };
        let all = if site.freed_by_cleaner >= site.freed_count {
            ", none by the program"
        } else {
            ""
        };
        lines.push(format!(
            "freed by the cleaner: {sign}{} of {sign}{} ended on {cleaners}{all}",
            Count(site.freed_by_cleaner),
            Count(site.freed_count.max(site.freed_by_cleaner)),
        ));
    }
    if let Some(trend) = &site.trend {
        let sentence = evolution::sentence(trend, site.estimated);
        lines.push(format!("over time: {sentence}"));
    }
    lines.extend(evolution::ages(site).map(|ages| format!("ages: {ages}")));
    lines.extend(overlap(capture, site).map(str::to_owned));
    lines
}

fn ages(site: &Site) -> String {
    if site.outstanding_count == 0 {
        return "nothing outstanding".to_owned();
    }
    let sign = mark(count_estimated(site));
    let (oldest, newest) = (Seconds(site.oldest_seconds), Seconds(site.newest_seconds));
    format!("outstanding for {sign}{newest} (newest) to {sign}{oldest} (oldest)")
}

fn history(site: &Site) -> String {
    if is_opened(site) {
        let ended = match site.kind {
            SiteKind::Pair => "closed",
            _ => "ended",
        };
        return format!(
            "in the window: {} opened, {} {ended}",
            counted(site.allocated_count, unit(site.kind)),
            Count(site.freed_count)
        );
    }
    let (bytes_sign, count_sign) = (mark(site.estimated), mark(count_estimated(site)));
    format!(
        "in the window: {bytes_sign}{} in {count_sign}{} allocated, {count_sign}{} freed",
        Bytes(site.allocated_bytes),
        counted(site.allocated_count, unit(site.kind)),
        Count(site.freed_count),
    )
}

pub(in crate::report) fn owner_text(owner: Owner, reserved: u64) -> String {
    let owner = match owner {
        Owner::Allocator => "the allocator's own arenas and big blocks",
        Owner::ThreadStack => "thread stacks",
        Owner::Jvm => "the JVM's own memory",
        Owner::Other => "not known to the tracer",
    };
    let mut text = format!("serves: {owner}");
    if reserved > 0 {
        text += &format!("; {} more are only reserved", Bytes(reserved));
    }
    text
}

/// Where the same bytes also stand at another site.
pub(in crate::report) fn overlap(capture: &Capture, site: &Site) -> Option<&'static str> {
    let counts = accounting::counts(site, &capture.settings.hooks);
    match site.kind {
        SiteKind::Mmap if !counts => {
            Some("not in the total: what is in these regions is counted where it was allocated")
        }
        SiteKind::Deflate | SiteKind::Inflate if !counts && site.outstanding_count > 0 => {
            Some("its memory is malloc blocks, which the total counts once")
        }
        SiteKind::Pair if site.outstanding_bytes > 0 => {
            Some("its memory is malloc blocks, which the total counts once")
        }
        SiteKind::Malloc if accounting::is_zlib_memory(site) => Some("held by zlib streams"),
        _ => None,
    }
}

fn write_stack(site: &Site, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let mut frames = site.frames.iter().peekable();
    let width = site
        .frames
        .iter()
        .map(|frame| clean::name(&frame.name).chars().count())
        .max()
        .unwrap_or(0)
        .min(64);
    while let Some(frame) = frames.next() {
        let mut times = 1u64;
        while frames.next_if(|next| *next == frame).is_some() {
            times += 1;
        }
        let mut notes = notes(frame);
        if times > 1 {
            notes += &format!(" ×{}", Count(times));
        }
        let name = clean::name(&frame.name);
        writeln!(
            out,
            "     {name:width$}  {}",
            paint.apply(Style::Faint, &notes)
        )?;
    }
    if accounting::end_is_told(site) {
        return Ok(());
    }
    let text = format!(
        "[the stack is incomplete: {}]",
        clean::name(&site.stack_end)
    );
    writeln!(out, "     {}", paint.apply(Style::Warning, &text))
}

/// `[C2, inlined] GzipHandler.java:42`, `[native] libz.so.1.2.13 deflate.c:256`.
fn notes(frame: &Frame) -> String {
    let kind = match frame.kind {
        FrameKind::Native if caller::is_java(frame) => "native method",
        FrameKind::Native => "native",
        FrameKind::C1 => "C1",
        FrameKind::C2 => "C2",
        FrameKind::Interpreted => "interpreted",
        FrameKind::Inlined => "inlined",
        FrameKind::Stub => "stub",
        FrameKind::Unknown => "unknown",
    };
    let mut text = format!("[{kind}]");
    if let Some(module) = &frame.module {
        text += &format!(" {}", clean::name(module));
    }
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => text += &format!(" {}:{line}", clean::name(file)),
        (Some(file), None) => text += &format!(" {}", clean::name(file)),
        (None, _) => {}
    }
    text
}
