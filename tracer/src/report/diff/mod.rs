//! What grew between two captures: sites of both, matched by what a reader can tell them apart by.
//!
//! See `docs/formats/diff.md`. Pure: from two [`Capture`]s to text, JSON or a picture.

mod differences;
mod json;
mod svg;
mod text;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};

use crate::capture::{Capture, Site, SiteKind};
use crate::report::{Filter, accounting};

/// Below this the captures are of one moment, and there is no rate.
const SAME_MOMENT_SECONDS: f64 = 0.001;

/// What a comparison is rendered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Svg,
}

/// What two captures have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relation {
    /// Of one attach: what grew, grew in the time between them.
    SameRun { seconds: f64 },
    /// Of two attaches: each counts from its own on, and is compared by what it counted per hour.
    TwoRuns,
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Diff<'a> {
    pub base: &'a Capture,
    pub new: &'a Capture,
    pub relation: Relation,
    /// What makes the captures hard to compare, one sentence each.
    pub warnings: Vec<String>,
    /// Greatest change first, whether it grew or shrank.
    pub sites: Vec<SiteDiff<'a>>,
}

/// A site in both captures, or in one of them.
#[derive(Clone, Debug)]
pub struct SiteDiff<'a> {
    /// As it looks in the new capture, or, where it is not there, in the base.
    pub site: &'a Site,
    pub base: Option<Amount>,
    pub new: Option<Amount>,
}

/// What a site had in one capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub bytes: u64,
    pub count: u64,
    pub allocated_bytes: u64,
    pub allocated_count: u64,
    pub estimated: bool,
}

/// Compares; the filter chooses sites by their frames.
pub fn of<'a>(base: &'a Capture, new: &'a Capture, filter: &Filter) -> Diff<'a> {
    let relation = relation(base, new);
    let exact = matches!(relation, Relation::SameRun { .. }) || same_process(base, new);
    let mut order: Vec<SiteDiff<'a>> = Vec::new();
    let mut places: HashMap<Look<'a>, usize> = HashMap::new();
    // The new one's sites come first, so that it is them that are shown.
    for (capture, is_new) in [(new, true), (base, false)] {
        for site in capture.sites.iter().filter(|site| filter.passes(site)) {
            let place = *places.entry(Look::of(site, exact)).or_insert_with(|| {
                order.push(SiteDiff {
                    site,
                    base: None,
                    new: None,
                });
                order.len() - 1
            });
            let entry = &mut order[place];
            let amount = if is_new {
                &mut entry.new
            } else {
                &mut entry.base
            };
            amount.get_or_insert_default().add(site);
        }
    }
    order.sort_by_key(|site| Reverse((site.bytes().unsigned_abs(), site.count().unsigned_abs())));
    Diff {
        base,
        new,
        relation,
        warnings: differences::between(base, new, relation),
        sites: order,
    }
}

/// Writes the comparison; `top` sites of it as text, all of them otherwise.
///
/// # Errors
/// Those of the writer.
pub fn render(diff: &Diff<'_>, format: Format, top: usize, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => text::write(diff, top, out),
        Format::Json => json::write(diff, out),
        Format::Svg => svg::write(diff, out),
    }
}

/// Whether both are of one process: the same pid, begun at the same moment, where that is known.
fn same_process(base: &Capture, new: &Capture) -> bool {
    let (base, new) = (&base.target, &new.target);
    base.pid == new.pid && base.start_ticks == new.start_ticks && base.cmdline == new.cmdline
}

fn relation(base: &Capture, new: &Capture) -> Relation {
    if same_process(base, new) && base.window.start == new.window.start {
        return Relation::SameRun {
            seconds: new.window.seconds - base.window.seconds,
        };
    }
    Relation::TwoRuns
}

impl Diff<'_> {
    /// What a site gained per hour; none where no time has passed.
    pub fn bytes_per_hour(&self, site: &SiteDiff<'_>) -> Option<f64> {
        let bytes = |amount: &Option<Amount>| amount.map_or(0, |amount| amount.bytes);
        self.rate(bytes(&site.base), bytes(&site.new))
    }

    fn rate(&self, base: u64, new: u64) -> Option<f64> {
        let per_hour = |bytes: f64, seconds: f64| {
            (seconds.abs() >= SAME_MOMENT_SECONDS).then(|| bytes / seconds * 3600.0)
        };
        match self.relation {
            Relation::SameRun { seconds } => {
                per_hour((i128::from(new) - i128::from(base)) as f64, seconds)
            }
            Relation::TwoRuns => Some(
                per_hour(new as f64, self.new.window.seconds)?
                    - per_hour(base as f64, self.base.window.seconds)?,
            ),
        }
    }

    /// Outstanding bytes of both, each byte once, and whether an estimate is part of them.
    fn totals(&self) -> (u64, u64, bool) {
        let mut totals = (0u64, 0u64, false);
        for site in self.sites.iter().filter(|site| self.counts(site)) {
            let (base, new) = site.amounts();
            totals.0 = totals.0.saturating_add(base.bytes);
            totals.1 = totals.1.saturating_add(new.bytes);
            totals.2 |= site.estimated();
        }
        totals
    }

    /// Whether the site's bytes belong to the total in either capture.
    fn counts(&self, site: &SiteDiff<'_>) -> bool {
        let hooks = match site.new {
            Some(_) => &self.new.settings.hooks,
            None => &self.base.settings.hooks,
        };
        accounting::counts(site.site, hooks)
    }
}

impl SiteDiff<'_> {
    fn amounts(&self) -> (Amount, Amount) {
        (self.base.unwrap_or_default(), self.new.unwrap_or_default())
    }

    /// Outstanding bytes gained.
    pub fn bytes(&self) -> i128 {
        let (base, new) = self.amounts();
        i128::from(new.bytes) - i128::from(base.bytes)
    }

    /// Outstanding allocations gained.
    pub fn count(&self) -> i128 {
        let (base, new) = self.amounts();
        i128::from(new.count) - i128::from(base.count)
    }

    pub fn estimated(&self) -> bool {
        let (base, new) = self.amounts();
        base.estimated || new.estimated
    }

    /// Nothing of it is outstanding more or less than before.
    fn is_unchanged(&self) -> bool {
        self.bytes() == 0 && self.count() == 0
    }
}

impl Amount {
    fn add(&mut self, site: &Site) {
        let sums = [
            (&mut self.bytes, site.outstanding_bytes),
            (&mut self.count, site.outstanding_count),
            (&mut self.allocated_bytes, site.allocated_bytes),
            (&mut self.allocated_count, site.allocated_count),
        ];
        for (sum, part) in sums {
            *sum = sum.saturating_add(part);
        }
        self.estimated |= site.estimated;
    }
}

/// What sites are matched by. How the JVM ran a method is no part of it; lines, and the versions in names of libraries, are
/// only where both captures are of one process: another build has other ones.
#[derive(PartialEq, Eq, Hash)]
struct Look<'a> {
    kind: SiteKind,
    pair: Option<&'a str>,
    thread: Option<&'a str>,
    stack_end: &'a str,
    frames: Vec<FrameLook<'a>>,
}

/// Name, module, file and line.
type FrameLook<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<u32>);

impl<'a> Look<'a> {
    fn of(site: &'a Site, exact: bool) -> Look<'a> {
        let frames = site.frames.iter().map(|frame| {
            let (name, module) = (frame.name.as_str(), frame.module.as_deref());
            match exact {
                true => (name, module, frame.file.as_deref(), frame.line),
                false => (name, module.map(without_version), None, None),
            }
        });
        Look {
            kind: site.kind,
            pair: site.pair.as_deref(),
            thread: site.thread.as_deref(),
            stack_end: &site.stack_end,
            frames: frames.collect(),
        }
    }
}

/// `libz.so` of `libz.so.1.2.13`.
fn without_version(module: &str) -> &str {
    match module.find(".so.") {
        Some(at) => &module[..at + 3],
        None => module,
    }
}

#[cfg(test)]
mod tests;
