//! The data of the page: what its script draws.

use std::collections::HashSet;
use std::io;

use serde::Serialize;

use super::growth::Growth;
use super::names::{FrameColumns, Frames, Names, WORDS};
use super::stacks::Tree;
use crate::capture::{Capture, Site, SiteKind};
use crate::report::listing::{Listing, count_estimated, is_stream, kind_word};
use crate::report::units::Count;
use crate::report::{Sort, accounting, caller, clean, evolution, folded, text};

/// The largest integer that the script holds exactly.
const MOST: u64 = 1 << 53;

/// Bits of `flags`, as the script knows them.
const ESTIMATED: u8 = 1;
const COUNTS: u8 = 2;
const STANDS_FOR: u8 = 4;
const COUNT_ESTIMATED: u8 = 8;
const STREAM: u8 = 16;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    names: &'a [String],
    kinds: &'a [&'static str],
    frame_kinds: [&'static str; WORDS.len()],
    frames: FrameColumns,
    stacks: Tree,
    sites: Columns,
    growth: Option<&'static str>,
}

/// Sites, a column per property.
#[derive(Default, Serialize)]
struct Columns {
    leaf: Vec<u32>,
    kind: Vec<usize>,
    flags: Vec<u8>,
    bytes: Vec<u64>,
    count: Vec<u64>,
    /// Bytes and number of all allocations.
    allocated: Vec<u64>,
    made: Vec<u64>,
    growth: Vec<Option<i64>>,
    oldest: Vec<f64>,
    newest: Vec<f64>,
    freed: Vec<u64>,
    cleaner: Vec<u64>,
    thread: Vec<i32>,
    caller: Vec<i32>,
    trend: Vec<i32>,
    evidence: Vec<i32>,
    /// Sentences, of which many sites have the same.
    notes: Vec<Vec<i32>>,
}

/// The kinds that the capture has, as `capture.json` calls them.
pub(super) fn kinds(capture: &Capture) -> Vec<&'static str> {
    let all = [
        SiteKind::Deflate,
        SiteKind::Inflate,
        SiteKind::Pair,
        SiteKind::Malloc,
        SiteKind::Mmap,
        SiteKind::Fault,
    ];
    all.into_iter()
        .filter(|kind| capture.sites.iter().any(|site| site.kind == *kind))
        .map(kind_word)
        .collect()
}

/// The data as JSON, with as many of the biggest sites as fit into `most` bytes; the others are summed up.
pub(in crate::report) fn bounded(
    capture: &Capture,
    shown: &[&Site],
    most: usize,
) -> io::Result<String> {
    let mut biggest = shown.to_vec();
    biggest.sort_by_key(|site| {
        std::cmp::Reverse((
            site.outstanding_bytes,
            site.outstanding_count,
            site.allocated_bytes,
        ))
    });
    let mut kept = biggest.len();
    loop {
        let (sites, rest) = biggest.split_at(kept);
        let json = Builder::new(capture, shown).json(sites, rest)?;
        if json.len() <= most || kept == 0 {
            return Ok(json);
        }
        kept = (kept as f64 * 0.9 * most as f64 / json.len() as f64) as usize;
    }
}

struct Builder<'a> {
    capture: &'a Capture,
    growth: Option<Growth>,
    kinds: Vec<&'static str>,
    listed: HashSet<*const Site>,
    names: Names,
    frames: Frames<'a>,
    stacks: Vec<Vec<u32>>,
    columns: Columns,
}

impl<'a> Builder<'a> {
    fn new(capture: &'a Capture, shown: &[&'a Site]) -> Self {
        let listing = Listing::new(capture, shown, Sort::Bytes);
        Builder {
            capture,
            growth: Growth::of(capture),
            kinds: kinds(capture),
            listed: listing
                .sites
                .iter()
                .map(|site| std::ptr::from_ref(*site))
                .collect(),
            names: Names::default(),
            frames: Frames::default(),
            stacks: Vec::new(),
            columns: Columns::default(),
        }
    }

    fn json(mut self, sites: &[&'a Site], rest: &[&'a Site]) -> io::Result<String> {
        for site in sites {
            let stack = self.stack(site);
            self.add(site, stack);
        }
        self.add_rest(rest);
        let (frames, places) = self.frames.sorted(&self.names);
        for frame in self.stacks.iter_mut().flatten() {
            *frame = places[*frame as usize];
        }
        let (stacks, leaves) = Tree::of(&self.stacks);
        self.columns.leaf = leaves;
        let data = Data {
            names: &self.names.all,
            kinds: &self.kinds,
            frame_kinds: WORDS,
            frames,
            stacks,
            sites: self.columns,
            growth: self.growth.map(Growth::words),
        };
        Ok(serde_json::to_string(&data)?)
    }

    /// Root first; incomplete stacks begin with the reason, streams end with what they are.
    fn stack(&mut self, site: &'a Site) -> Vec<u32> {
        let mut stack = Vec::with_capacity(site.frames.len() + 2);
        if !accounting::end_is_told(site) || site.frames.is_empty() {
            let end = clean::name(&format!("[{}]", site.stack_end)).into_owned();
            stack.push(self.frames.mark(&end, &mut self.names));
        }
        for frame in site.frames.iter().rev() {
            stack.push(self.frames.index(frame, &mut self.names));
        }
        if let Some(leaf) = folded::leaf(site) {
            stack.push(self.frames.mark(&leaf, &mut self.names));
        }
        stack
    }

    fn add(&mut self, site: &Site, stack: Vec<u32>) {
        let names = &mut self.names;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let counts = accounting::counts(site, &self.capture.settings.hooks);
        let columns = &mut self.columns;
        let word = kind_word(site.kind);
        self.stacks.push(stack);
        columns.kind.push(
            self.kinds
                .iter()
                .position(|kind| *kind == word)
                .unwrap_or(0),
        );
        columns.flags.push(
            flag(site.estimated, ESTIMATED)
                | flag(counts, COUNTS)
                | flag(!self.listed.contains(&std::ptr::from_ref(site)), STANDS_FOR)
                | flag(count_estimated(site), COUNT_ESTIMATED)
                | flag(is_stream(site), STREAM),
        );
        columns.bytes.push(site.outstanding_bytes.min(MOST));
        columns.count.push(site.outstanding_count.min(MOST));
        columns.allocated.push(site.allocated_bytes.min(MOST));
        columns.made.push(site.allocated_count.min(MOST));
        let growth = self.growth.and_then(|growth| growth.bytes(site));
        columns
            .growth
            .push(growth.map(|bytes| bytes.clamp(-(MOST as i64), MOST as i64)));
        columns.oldest.push(short(site.oldest_seconds));
        columns.newest.push(short(site.newest_seconds));
        columns.freed.push(site.freed_count.min(MOST));
        columns.cleaner.push(site.freed_by_cleaner.min(MOST));
        columns.thread.push(names.name(site.thread.as_deref()));
        columns
            .caller
            .push(names.text(&caller::of(site).to_string()));
        let trend = site.trend.as_ref();
        columns.trend.push(
            trend
                .and_then(|trend| trend.class)
                .map_or(-1, |class| names.text(evolution::word(class))),
        );
        columns.evidence.push(trend.map_or(-1, |trend| {
            names.text(&evolution::sentence(trend, site.estimated))
        }));
        let notes = notes(self.capture, site);
        columns
            .notes
            .push(notes.map(|note| names.text(&note)).collect());
    }

    /// What did not fit, a line per kind.
    fn add_rest(&mut self, rest: &[&'a Site]) {
        let hooks = &self.capture.settings.hooks;
        let mut sums: Vec<(Site, bool, u64)> = Vec::new();
        for site in rest {
            let counts = accounting::counts(site, hooks);
            let same =
                |(sum, same, _): &&mut (Site, bool, u64)| sum.kind == site.kind && *same == counts;
            match sums.iter_mut().find(same) {
                Some((sum, _, sites)) => {
                    add_to(sum, site);
                    *sites += 1;
                }
                None => sums.push((without_stack(site), counts, 1)),
            }
        }
        for (sum, _, sites) in sums {
            let word = format!("[{} smaller sites: capture.json has them]", Count(sites));
            let mark = self.frames.mark(&word, &mut self.names);
            self.add(&sum, vec![mark]);
            let caller = self.names.text(&word);
            if let (Some(last), Some(flags)) = (
                self.columns.caller.last_mut(),
                self.columns.flags.last_mut(),
            ) {
                *last = caller;
                *flags &= !STANDS_FOR;
            }
        }
    }
}

fn without_stack(site: &Site) -> Site {
    Site {
        frames: Vec::new(),
        stack_end: "root".to_owned(),
        series: None,
        trend: None,
        ages: None,
        thread: None,
        growth_bytes: None,
        ..site.clone()
    }
}

fn add_to(sum: &mut Site, site: &Site) {
    sum.estimated |= site.estimated;
    for (sum, more) in [
        (&mut sum.outstanding_bytes, site.outstanding_bytes),
        (&mut sum.outstanding_count, site.outstanding_count),
        (&mut sum.allocated_bytes, site.allocated_bytes),
        (&mut sum.allocated_count, site.allocated_count),
        (&mut sum.freed_count, site.freed_count),
        (&mut sum.freed_by_cleaner, site.freed_by_cleaner),
    ] {
        *sum = sum.saturating_add(more);
    }
    sum.oldest_seconds = sum.oldest_seconds.max(site.oldest_seconds);
    sum.newest_seconds = sum.newest_seconds.min(site.newest_seconds);
}

/// Milliseconds are enough, and JSON has no word for what is no number.
fn short(seconds: f64) -> f64 {
    let rounded = (seconds * 1000.0).round() / 1000.0;
    if rounded.is_finite() { rounded } else { 0.0 }
}

/// How old its allocations are, what a mapping serves, and where the same bytes also stand.
fn notes(capture: &Capture, site: &Site) -> impl Iterator<Item = String> {
    let owner = site
        .owner
        .map(|owner| text::owner_text(owner, site.reserved_bytes));
    let blocks = (site.blocks > 0).then(|| format!("{} malloc blocks", Count(site.blocks)));
    let overlap = text::overlap(capture, site).map(str::to_owned);
    let others = [owner, blocks, overlap].into_iter().flatten();
    evolution::age_parts(site).chain(others)
}
