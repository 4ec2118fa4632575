//! The picture.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use crate::capture::{Capture, Site};
use crate::report::listing::{is_stream, kind_word};
use crate::report::units::{Bytes, Count, Delta, Seconds};
use crate::report::verdict::{self, mark};
use crate::report::{Sort, accounting, clean};

use super::cells::{self, Glyphs};
use super::state::{Figures, Live, Page, caller_of};
use super::{help, stack};

/// Terminals of at least this width have room for the class of a site.
const WIDE: u16 = 100;
/// Width of a sparkline.
const SPARK: usize = 8;
const HEADER: u16 = 3;

/// Colours and glyphs that the terminal has.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub colour: bool,
    pub glyphs: Glyphs,
}

impl Look {
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub fn colour(self, colour: Color) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame, live: &mut Live, look: Look) {
    let areas = Layout::vertical([
        Constraint::Length(HEADER),
        Constraint::Min(1),
        Constraint::Length(1),
    ]);
    let [header, body, footer] = areas.areas(frame.area());
    live.height = usize::from(body.height.saturating_sub(1)).max(1);
    frame.render_widget(Paragraph::new(head(live, look)), header);
    match live.page {
        Page::Sites => sites(frame, live, body, look),
        Page::Stack(line) => {
            let shown = stack::draw(frame, live, body, look, line);
            live.page = Page::Stack(shown);
        }
        Page::Help => help::draw(frame, body),
    }
    frame.render_widget(Paragraph::new(foot(live, look)), footer);
}

fn head(live: &Live, look: Look) -> Vec<Line<'static>> {
    let Some(capture) = live.capture() else {
        return vec![Line::from("waiting for the first reading …")];
    };
    let shown = live.options().filter.select(capture);
    let finding = verdict::findings(capture, &shown).into_iter().next();
    let verdict = finding.map_or_else(String::new, |finding| format!("{finding}."));
    vec![
        Line::styled(process(capture, live), look.strong()),
        Line::from(totals(capture, look)),
        Line::styled(verdict, look.colour(Color::Yellow)),
    ]
}

fn process(capture: &Capture, live: &Live) -> String {
    let jvm = capture.target.jvm.as_ref();
    let jvm = jvm.map_or_else(String::new, |jvm| {
        format!(", JDK {}", clean::name(&jvm.version))
    });
    let state = match (live.ended, live.paused) {
        (true, _) => " [ended]",
        (_, true) => " [paused]",
        _ => "",
    };
    format!(
        "{} (pid {}{jvm}), traced for {}{state}",
        clean::name(&capture.target.comm),
        capture.target.pid,
        Seconds(capture.window.seconds),
    )
}

fn totals(capture: &Capture, look: Look) -> String {
    let all: Vec<&Site> = capture.sites.iter().collect();
    let (bytes, estimated) = accounting::total(capture, &all);
    let memory = &capture.memory;
    let growth = i128::from(memory.rss_end) - i128::from(memory.rss_start);
    let readings = capture
        .series
        .as_ref()
        .map_or(&[][..], |series| &series.rss);
    let lost = match capture.losses.values().sum() {
        0 => String::new(),
        lost => format!("{} lost, ", Count(lost)),
    };
    format!(
        "{}{} outstanding at {} sites, {lost}RSS {} ({}) {}",
        mark(estimated),
        Bytes(bytes),
        Count(all.len() as u64),
        Bytes(memory.rss_end),
        Delta(growth),
        cells::sparkline(readings, SPARK.min(readings.len()), look.glyphs),
    )
}

fn sites(frame: &mut Frame, live: &Live, area: Rect, look: Look) {
    let wide = area.width >= WIDE;
    let mut widths = vec![9, 9, 10, 7, SPARK as u16];
    widths.extend(wide.then_some(10));
    widths.push(7);
    let taken = widths.iter().map(|width| width + 1).sum();
    let caller = area.width.saturating_sub(taken).max(10);
    widths.push(caller);
    let widths = widths.into_iter().map(Constraint::Length);
    let rows = live.sites().map(|site| row(site, live, wide, caller, look));
    let table = Table::new(rows, widths)
        .header(titles(live, wide).style(look.strong()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(live.capture().map(|_| live.cursor()));
    frame.render_stateful_widget(table, area, &mut state);
}

fn titles(live: &Live, wide: bool) -> Row<'static> {
    let order = live.options().sort;
    let title = |word: &str, by: Sort| {
        let arrow = if order == by { "v" } else { "" };
        right(format!("{word}{arrow}"))
    };
    let (bytes, count) = match live.figures {
        Figures::Estimated => ("BYTES", "COUNT"),
        Figures::Recorded => ("SAMPLED", "SAMPLES"),
    };
    let mut cells = vec![
        title(bytes, Sort::Bytes),
        title(count, Sort::Count),
        title("GROWTH", Sort::Growth),
        title("OLDEST", Sort::Age),
        Cell::from("HISTORY"),
    ];
    if wide {
        cells.push(Cell::from("TREND"));
    }
    cells.extend([Cell::from("KIND"), Cell::from("CALLER")]);
    Row::new(cells)
}

fn row(site: &Site, live: &Live, wide: bool, room: u16, look: Look) -> Row<'static> {
    let mut cells = vec![
        right(cells::bytes(site, live.figures)),
        right(cells::count(site, live.figures)),
        right(cells::growth(site)).style(growth_style(site, look)),
        right(cells::oldest(site)),
        Cell::from(cells::sparkline(cells::series(site), SPARK, look.glyphs)),
    ];
    if wide {
        cells.push(Cell::from(cells::class(site)));
    }
    let kind = match is_stream(site) {
        true => look.colour(Color::Red),
        false => Style::new(),
    };
    cells.extend([
        Cell::from(Span::styled(kind_word(site.kind), kind)),
        Cell::from(cells::fit(&caller_of(site), room.into())),
    ]);
    Row::new(cells)
}

fn growth_style(site: &Site, look: Look) -> Style {
    match site.growth_bytes {
        Some(bytes) if bytes > 0 => look.colour(Color::Red),
        Some(bytes) if bytes < 0 => look.colour(Color::Green),
        _ => Style::new(),
    }
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn foot(live: &Live, look: Look) -> Line<'static> {
    if live.typing {
        return Line::styled(format!("/{}_", clean::name(&live.filter)), look.strong());
    }
    let mut shown = Vec::new();
    if !live.filter.is_empty() {
        shown.push(format!("with {:?}", live.filter));
    }
    shown.extend(live.kind.map(|kind| format!("{} only", kind_word(kind))));
    let filter = match shown.is_empty() {
        true => String::new(),
        false => format!("[{}; esc: all] ", shown.join(", ")),
    };
    match live.message() {
        Some(message) => Line::from(format!("{filter}{}", clean::name(message))),
        None => Line::styled(format!("{filter}{}", help::KEYS), look.faint()),
    }
}
