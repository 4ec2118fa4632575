//! What is shown, and what keys do to it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::capture::{Capture, Site, SiteKind};
use crate::report::listing::{self, Listing};
use crate::report::{Options, Sort, caller, clean};

/// Messages that are kept; the last is shown.
const MESSAGES: usize = 8;
/// Longest text to filter by, in characters.
const LONGEST_FILTER: usize = 128;
/// Rows that a page key moves where the height is not known yet.
const PAGE: usize = 10;

/// What the user asks of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Only the picture has changed.
    Redraw,
    /// Nothing of what the terminal shows can be relied on.
    Clear,
    /// A new capture now.
    Refresh,
    /// A bundle on disk now.
    Snapshot,
    /// Detach, and give the final report.
    Quit,
    Nothing,
}

/// What fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Sites,
    /// The selected site with its stack, from this line on.
    Stack(usize),
    Help,
}

/// Which figures stand in the columns of bytes and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figures {
    /// Sampled sites with what their samples stand for, marked `~`.
    Estimated,
    /// What was recorded, and nothing else.
    Recorded,
}

/// The state of the view.
#[derive(Debug)]
pub struct Live {
    options: Options,
    capture: Option<Capture>,
    /// Sites that pass the filters, as places in the capture, in the order shown.
    rows: Vec<usize>,
    /// The identity of the site that was chosen; it stays selected wherever it moves to. Before, the first is.
    chosen: Option<u64>,
    /// Place of the selection in `rows`.
    cursor: usize,
    pub(super) page: Page,
    pub(super) figures: Figures,
    pub(super) kind: Option<SiteKind>,
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) paused: bool,
    /// The target has ended, and the capture is the last.
    pub(super) ended: bool,
    messages: VecDeque<String>,
    /// Rows that fit, as last drawn.
    pub(super) height: usize,
}

impl Live {
    pub fn new(options: Options) -> Live {
        Live {
            options,
            capture: None,
            rows: Vec::new(),
            chosen: None,
            cursor: 0,
            page: Page::Sites,
            figures: Figures::Estimated,
            kind: None,
            filter: String::new(),
            typing: false,
            paused: false,
            ended: false,
            messages: VecDeque::new(),
            height: PAGE,
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Shows this capture from now on.
    pub fn update(&mut self, capture: Capture) {
        self.capture = Some(capture);
        self.arrange();
    }

    /// The last capture of a target that has ended.
    pub fn finish(&mut self, capture: Capture) {
        self.ended = true;
        self.paused = false;
        self.tell("the target has ended; this is its last state (q: the report)".to_owned());
        self.update(capture);
    }

    /// Shows a line at the bottom until the next one.
    pub fn tell(&mut self, message: String) {
        if self.messages.len() == MESSAGES {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    pub(super) fn message(&self) -> Option<&str> {
        self.messages.back().map(String::as_str)
    }

    pub fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref()
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// The sites to show, in order.
    pub(super) fn sites(&self) -> impl ExactSizeIterator<Item = &Site> {
        let sites = self
            .capture
            .as_ref()
            .map_or(&[][..], |capture| &capture.sites);
        // `arrange` follows each capture, so that all places exist.
        self.rows.iter().map(move |&row| &sites[row])
    }

    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(super) fn selected(&self) -> Option<&Site> {
        self.sites().nth(self.cursor)
    }

    /// What an event of the terminal does.
    pub fn handle(&mut self, event: &Event) -> Request {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            // Also to the size that it had: it may have been another in between.
            Event::Resize(..) => Request::Clear,
            _ => Request::Nothing,
        }
    }

    fn key(&mut self, key: KeyEvent) -> Request {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Request::Quit,
                KeyCode::Char('l') => Request::Clear,
                _ => Request::Nothing,
            };
        }
        if self.typing {
            return self.type_filter(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Request::Quit,
            KeyCode::Char('s') => return Request::Snapshot,
            KeyCode::Char('r') => return Request::Refresh,
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused && !self.ended;
                return if self.paused {
                    Request::Redraw
                } else {
                    Request::Refresh
                };
            }
            KeyCode::Char('?' | 'h') => self.page = Page::Help,
            KeyCode::Char('e') => self.figures = other(self.figures),
            code if self.page == Page::Sites => return self.key_in_sites(code),
            code => self.key_in_page(code),
        }
        Request::Redraw
    }

    fn key_in_sites(&mut self, code: KeyCode) -> Request {
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.choose(self.cursor.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.choose(self.cursor + 1),
            KeyCode::PageUp => self.choose(self.cursor.saturating_sub(self.height)),
            KeyCode::PageDown => self.choose(self.cursor + self.height),
            KeyCode::Home => self.choose(0),
            KeyCode::End => self.choose(usize::MAX),
            KeyCode::Enter if self.selected().is_some() => {
                self.choose(self.cursor);
                self.page = Page::Stack(0);
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => {
                self.filter.clear();
                self.kind = None;
                self.arrange();
            }
            KeyCode::Tab => {
                self.kind = self.next_kind();
                self.arrange();
            }
            KeyCode::Char(letter) => match order(letter) {
                Some(order) => {
                    self.options.sort = order;
                    self.arrange();
                }
                None => return Request::Nothing,
            },
            _ => return Request::Nothing,
        }
        Request::Redraw
    }

    /// In the stack or the help.
    fn key_in_page(&mut self, code: KeyCode) {
        let line = match self.page {
            Page::Stack(line) => line,
            Page::Sites | Page::Help => 0,
        };
        let moved = match code {
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Enter | KeyCode::Left => {
                self.page = Page::Sites;
                return;
            }
            KeyCode::Up | KeyCode::Char('k') => line.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => line + 1,
            KeyCode::PageUp => line.saturating_sub(self.height),
            KeyCode::PageDown => line + self.height,
            KeyCode::Home => 0,
            _ => return,
        };
        if let Page::Stack(line) = &mut self.page {
            *line = moved;
        }
    }

    fn type_filter(&mut self, code: KeyCode) -> Request {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if self.filter.chars().count() < LONGEST_FILTER => {
                self.filter.push(letter);
            }
            _ => return Request::Nothing,
        }
        self.arrange();
        Request::Redraw
    }

    fn choose(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
        self.chosen = self.selected().map(identity);
    }

    /// The next of the kinds that there are, and then all of them.
    fn next_kind(&self) -> Option<SiteKind> {
        let sites = self.capture.iter().flat_map(|capture| &capture.sites);
        let kinds: BTreeSet<SiteKind> = sites.map(|site| site.kind).collect();
        kinds
            .into_iter()
            .find(|kind| self.kind.is_none_or(|shown| *kind > shown))
    }

    /// Filters and sorts the sites anew.
    fn arrange(&mut self) {
        let Some(capture) = &self.capture else { return };
        let needle = self.filter.to_lowercase();
        let mut shown = self.options.filter.select(capture);
        shown.retain(|site| self.kind.is_none_or(|kind| site.kind == kind));
        shown.retain(|site| needle.is_empty() || mentions(site, &needle));
        let places: HashMap<*const Site, usize> = (0..)
            .zip(&capture.sites)
            .map(|(place, site)| (std::ptr::from_ref(site), place))
            .collect();
        let listing = Listing::new(capture, &shown, self.options.sort);
        let place = |site: &&Site| places.get(&std::ptr::from_ref(*site)).copied();
        self.rows = listing.sites.iter().filter_map(place).collect();
        let place = self
            .chosen
            .and_then(|wanted| self.sites().position(|site| identity(site) == wanted));
        let last = self.rows.len().saturating_sub(1);
        self.cursor = place.unwrap_or(self.cursor.min(last));
    }
}

/// Tells a site from all others, in this capture and the next ones of this run.
fn identity(site: &Site) -> u64 {
    let mut hasher = DefaultHasher::new();
    (site.kind, &site.pair, &site.thread, &site.frames).hash(&mut hasher);
    hasher.finish()
}

/// Whether the text, in lower case, is part of anything that the site is called by.
fn mentions(site: &Site, needle: &str) -> bool {
    let names = site
        .frames
        .iter()
        .flat_map(|frame| [Some(&frame.name), frame.module.as_ref()]);
    let mut words = names.flatten().chain(&site.thread).chain(&site.pair);
    words.any(|word| word.to_lowercase().contains(needle))
        || listing::kind_word(site.kind).contains(needle)
}

fn order(letter: char) -> Option<Sort> {
    match letter {
        'b' => Some(Sort::Bytes),
        'c' => Some(Sort::Count),
        'g' => Some(Sort::Growth),
        'a' => Some(Sort::Age),
        _ => None,
    }
}

fn other(figures: Figures) -> Figures {
    match figures {
        Figures::Estimated => Figures::Recorded,
        Figures::Recorded => Figures::Estimated,
    }
}

/// Who is named for a site, without anything that could move the cursor.
pub(super) fn caller_of(site: &Site) -> String {
    let caller = caller::line(site);
    match &site.thread {
        Some(thread) => format!("{caller} [{}]", clean::name(thread)),
        None => caller,
    }
}
