//! Pictures of the live view, drawn into a buffer.

use std::sync::Arc;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::cells::{self, Glyphs};
use super::draw::{self, Look};
use super::state::{Live, Request};
use crate::capture::{Capture, SiteKind};
use crate::report::Options;
use crate::report::tests::fixture;

const LOOK: Look = Look {
    colour: false,
    glyphs: Glyphs::Ascii,
};

fn live() -> Live {
    let mut live = Live::new(Options::default());
    live.update(fixture::server());
    live
}

fn picture(live: &mut Live, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw::draw(frame, live, LOOK))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width));
    rows.map(|row| row.iter().map(|cell| cell.symbol()).collect())
        .collect()
}

fn press(live: &mut Live, code: KeyCode) -> Request {
    live.handle(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn type_text(live: &mut Live, text: &str) {
    for letter in text.chars() {
        press(live, KeyCode::Char(letter));
    }
}

fn callers(picture: &[String]) -> Vec<&str> {
    picture[4..picture.len() - 1]
        .iter()
        .map(|line| line.trim_end())
        .filter(|line| !line.is_empty())
        .collect()
}

/// The biggest site comes first, each with its figures, in 80 columns.
#[test]
fn sites_are_listed() {
    let picture = picture(&mut live(), 80, 24);
    assert!(picture[0].contains("(pid "), "{picture:#?}");
    assert!(
        picture[3].contains("BYTESv") && picture[3].contains("CALLER"),
        "{picture:#?}"
    );
    assert!(
        callers(&picture)[0].ends_with("c.a.GzipHandler.handle"),
        "{picture:#?}"
    );
}

/// What does not fit loses packages before it loses the method.
#[test]
fn names_are_fitted() {
    let name = "com.acme.io.GzipHandler.handle";
    for (room, fitted) in [
        (30, name),
        (28, "c.acme.io.GzipHandler.handle"),
        (24, "c.a.i.GzipHandler.handle"),
        (20, "c.a.i.GzipHandler.ha"),
        (0, ""),
    ] {
        assert_eq!(cells::fit(name, room), fitted);
    }
    assert_eq!(cells::fit("ä.ö.ü (libß.so)", 15), "ä.ö.ü (libß.so)");
}

/// Before the first capture there is something to see as well, and no key does harm.
#[test]
fn nothing_is_survived() {
    let mut live = Live::new(Options::default());
    for code in [
        KeyCode::Down,
        KeyCode::Enter,
        KeyCode::End,
        KeyCode::Tab,
        KeyCode::Char('e'),
    ] {
        press(&mut live, code);
        assert!(picture(&mut live, 80, 24)[0].contains("waiting"));
    }
}

/// The filter looks at frames, kinds and libraries in either case, can be taken back letter by letter and as a whole.
#[test]
fn a_text_filters() {
    let mut live = live();
    let all = live.sites().len();
    type_text(&mut live, "/GZIPHANDLER");
    let some = live.sites().len();
    assert!(0 < some && some < all, "{some} of {all}");
    type_text(&mut live, "xyz");
    assert_eq!(live.sites().len(), 0);
    press(&mut live, KeyCode::Enter);
    assert_eq!(
        press(&mut live, KeyCode::Enter),
        Request::Nothing,
        "there is nothing to look into"
    );
    press(&mut live, KeyCode::Char('/'));
    for _ in 0..3 {
        press(&mut live, KeyCode::Backspace);
    }
    assert_eq!(live.sites().len(), some);
    press(&mut live, KeyCode::Esc);
    assert_eq!(live.sites().len(), all);
}

/// Tab shows one kind after the other, each of those that there are, and then all again.
#[test]
fn kinds_are_shown_in_turn() {
    let mut live = live();
    let all = live.sites().len();
    let mut seen = Vec::new();
    loop {
        press(&mut live, KeyCode::Tab);
        match live.kind {
            Some(kind) => seen.push(kind),
            None => break,
        }
        assert!(live.sites().all(|site| Some(site.kind) == live.kind));
    }
    assert!(
        seen.contains(&SiteKind::Deflate) && seen.contains(&SiteKind::Malloc),
        "{seen:?}"
    );
    assert_eq!(live.sites().len(), all);
}

/// The selected site stays selected when a new capture puts it elsewhere.
#[test]
fn the_selection_follows_its_site() {
    let mut live = live();
    press(&mut live, KeyCode::Down);
    let chosen = live.selected().unwrap().frames.clone();
    let kind = live.selected().unwrap().kind;
    let mut next = fixture::server();
    for site in &mut next.sites {
        if site.frames == chosen && site.kind == kind {
            site.outstanding_bytes = 1 << 50;
        }
    }
    live.update(next);
    assert_eq!(live.cursor(), 0);
    assert_eq!(live.selected().unwrap().frames, chosen);
}

/// As long as nobody has chosen one, the first site is selected, whichever it is by then.
#[test]
fn the_first_is_selected_at_first() {
    let mut live = live();
    let mut next = fixture::server();
    let last = next.sites.len() - 1;
    next.sites[last].outstanding_bytes = 1 << 50;
    live.update(next);
    assert_eq!(live.cursor(), 0);
    assert_eq!(live.selected().unwrap().outstanding_bytes, 1 << 50);
}

/// A sampled site shows on demand what its samples were.
#[test]
fn samples_can_be_seen() {
    let mut capture = fixture::server();
    for site in &mut capture.sites {
        (site.estimated, site.recorded_count, site.recorded_bytes) = (true, 3, 5 << 20);
    }
    let mut live = Live::new(Options::default());
    live.update(capture);
    assert!(callers(&picture(&mut live, 80, 24))[0].contains('~'));
    press(&mut live, KeyCode::Char('e'));
    let picture = picture(&mut live, 80, 24);
    assert!(picture[3].contains("SAMPLES"), "{picture:#?}");
    let row = callers(&picture)[0];
    assert!(
        row.contains("5 MiB         3") && !row.contains('~'),
        "{row}"
    );
}

/// The line of readings ends in the newest, and reaches from zero to the highest.
#[test]
fn readings_are_drawn() {
    let line = |readings: &[u64], width| cells::sparkline(readings, width, Glyphs::Ascii);
    assert_eq!(line(&[], 4), "    ");
    assert_eq!(line(&[0, 0], 4), "    ");
    assert_eq!(line(&[0, 7], 4), "  _#");
    assert_eq!(line(&[7, 0], 2), "#_");
    assert_eq!(
        line(&[1, 1, 1, 1, 1, 1, 1, 0], 4),
        "###_",
        "the last reading is always one"
    );
}

/// Names that would move the cursor are made harmless before they are drawn.
#[test]
fn hostile_names_are_harmless() {
    let mut live = live();
    let mut capture: Capture = fixture::server();
    capture.target.comm = "a\x1b[2J\r\nb".to_owned();
    for site in &mut capture.sites {
        site.thread = Some("t\x07\u{202e}".to_owned());
        for frame in site.frames.iter_mut().map(Arc::make_mut) {
            frame.name = format!("\x1b]0;{}\n", frame.name);
            frame.module = Some("m\x1b".to_owned());
            frame.file = Some("f\r".to_owned());
        }
    }
    live.update(capture);
    let list = picture(&mut live, 120, 30);
    press(&mut live, KeyCode::Enter);
    let stack = picture(&mut live, 120, 30);
    let hostile = |c: char| c.is_control() || c == '\u{202e}';
    assert!(
        !list.concat().contains(hostile) && !stack.concat().contains(hostile),
        "{list:#?}"
    );
}

proptest! {
    /// Whatever is typed, on whatever size, something is drawn and nothing breaks.
    #[test]
    fn any_keys_on_any_size(
        keys in prop::collection::vec(0usize..24, 0..40),
        size in (1u16..130, 1u16..50),
    ) {
        const KEYS: [KeyCode; 24] = [
            KeyCode::Up, KeyCode::Down, KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home, KeyCode::End,
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::Backspace, KeyCode::Left, KeyCode::Char('/'),
            KeyCode::Char('b'), KeyCode::Char('c'), KeyCode::Char('g'), KeyCode::Char('a'), KeyCode::Char('e'),
            KeyCode::Char('p'), KeyCode::Char('?'), KeyCode::Char('j'), KeyCode::Char('k'), KeyCode::Char('ä'),
            KeyCode::Char('s'), KeyCode::F(1),
        ];
        let mut live = live();
        for key in keys {
            press(&mut live, KEYS[key]);
            picture(&mut live, size.0, size.1);
        }
        live.update(fixture::empty());
        picture(&mut live, size.0, size.1);
    }
}
