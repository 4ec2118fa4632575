//! One site: its figures, its trend, its ages and its stack.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::capture::{self, FrameKind, Site};
use crate::report::clean;
use crate::report::listing::count_estimated;
use crate::report::units::{Bytes, Count, Seconds};
use crate::report::verdict::{counted, mark, unit};

use super::cells;
use super::draw::Look;
use super::state::Live;

/// Draws the selected site from the line `from` on, and returns the line that it really began at.
pub fn draw(frame: &mut Frame, live: &Live, area: Rect, look: Look, from: usize) -> usize {
    let Some(site) = live.selected() else {
        return 0;
    };
    let lines = lines(site, look);
    let last = lines.len().saturating_sub(usize::from(area.height));
    let from = from.min(last);
    let shown = lines.into_iter().skip(from).collect::<Vec<_>>();
    frame.render_widget(Paragraph::new(shown), area);
    from
}

fn lines(site: &Site, look: Look) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(figures(site), look.strong())];
    lines.push(Line::from(format!(
        "allocated {} in {}, freed {}, {} of them by the cleaner; ages {} to {}",
        Bytes(site.allocated_bytes),
        Count(site.allocated_count),
        Count(site.freed_count),
        Count(site.freed_by_cleaner),
        Seconds(site.newest_seconds),
        Seconds(site.oldest_seconds),
    )));
    lines.extend(trend(site));
    let ages = site
        .ages
        .as_ref()
        .map(|ages| cells::ages(ages, look.glyphs));
    for (what, line) in ages.into_iter().flatten() {
        lines.push(Line::from(format!("{what}: {line}")));
    }
    if let Some(thread) = &site.thread {
        lines.push(Line::from(format!("thread {}", clean::name(thread))));
    }
    lines.push(Line::default());
    lines.extend(site.frames.iter().map(|frame| line(frame, look)));
    if site.stack_end != "root" {
        let end = clean::name(&site.stack_end).into_owned();
        lines.push(Line::styled(
            format!("(the stack ends here: {end})"),
            look.faint(),
        ));
    }
    lines
}

fn figures(site: &Site) -> String {
    format!(
        "{}{} in {}{}",
        mark(site.estimated),
        Bytes(site.outstanding_bytes),
        mark(count_estimated(site)),
        counted(site.outstanding_count, unit(site.kind)),
    )
}

fn trend(site: &Site) -> Option<Line<'static>> {
    let trend = site.trend.as_ref()?;
    Some(Line::from(match (cells::trend(trend), &trend.reason) {
        (Some(text), _) => format!("{}: {text}", cells::class(site)),
        (None, Some(reason)) => format!("no trend: {}", clean::name(reason)),
        (None, None) => return None,
    }))
}

fn line(frame: &capture::Frame, look: Look) -> Line<'static> {
    let style = match frame.kind {
        FrameKind::Native | FrameKind::Stub => Style::new(),
        FrameKind::C1 | FrameKind::C2 | FrameKind::Inlined => look.colour(Color::Green),
        FrameKind::Interpreted => look.colour(Color::Cyan),
        FrameKind::Unknown => look.colour(Color::Yellow),
    };
    let mut spans = vec![
        Span::raw("  "),
        Span::styled(clean::name(&frame.name).into_owned(), style),
    ];
    let place = match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("  {}:{line}", clean::name(file)),
        _ => String::new(),
    };
    let module = frame.module.as_ref();
    let module = module.map_or_else(String::new, |module| format!("  {}", clean::name(module)));
    spans.push(Span::styled(format!("{place}{module}"), look.faint()));
    Line::from(spans)
}
