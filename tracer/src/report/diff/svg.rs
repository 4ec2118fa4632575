//! The comparison as a flame graph: red grows, blue shrinks.
//!
//! A box is as wide as the larger of both captures, so that what has gone can be seen as well as what has come. Its colour
//! and the number behind its name are the change of all that is above it. inferno's own differential graphs colour the
//! tips only, which are `malloc` in all of ours; so each box is given its colour by its name, which the number makes its own.

use std::collections::BTreeMap;
use std::io::{self, Write};

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, TextTruncateDirection};

use super::{Diff, Relation};
use crate::report::svg::{scaled, write_empty};
use crate::report::units::{Bytes, Delta, Seconds};
use crate::report::{clean, evolution, folded};

/// A walk ends at so many frames; what is deeper in a file is left out.
const MAX_DEPTH: usize = 4_096;

/// A box.
#[derive(Default)]
struct Node {
    base: u64,
    new: u64,
    /// Outstanding bytes of the larger one that end here.
    width: u64,
    /// By name, as numbers of nodes: what nests is dropped by recursion.
    above: BTreeMap<String, usize>,
}

pub(super) fn write(diff: &Diff<'_>, out: &mut dyn Write) -> io::Result<()> {
    let nodes = tree(diff);
    let mut changes = BTreeMap::new();
    let lines = lines(&nodes, &mut changes);
    if lines.is_empty() {
        return write_empty(&title(diff), "nothing is outstanding in either", out);
    }
    let most = changes
        .values()
        .map(|change: &i128| change.unsigned_abs())
        .max()
        .unwrap_or(1);
    let mut palette = PaletteMap::default();
    for (name, change) in &changes {
        palette.insert(name.as_str(), color(*change, most));
    }
    palette.insert("", color(nodes[0].change(), most));
    let (lines, factor) = scaled(lines.iter().map(|(stack, bytes)| (stack.as_str(), *bytes)));
    let mut options = flamegraph::Options::default();
    options.title = title(diff);
    options.subtitle = Some(subtitle(diff));
    options.notes = title(diff);
    options.count_name = "bytes in the larger".to_owned();
    options.name_type = "Frame:".to_owned();
    options.bgcolors = Some(BackgroundColor::Flat(grey(248)));
    options.palette_map = Some(&mut palette);
    options.deterministic = true;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.factor = factor;
    options.no_sort = true;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), out)
}

/// Each byte once, as in other flame graphs.
/// The first is the root.
fn tree(diff: &Diff<'_>) -> Vec<Node> {
    let mut nodes = vec![Node::default()];
    for site in diff.sites.iter().filter(|site| diff.counts(site)) {
        let (base, new) = site.amounts();
        let mut at = 0;
        nodes[at].add(base.bytes, new.bytes);
        for name in folded::plain_names(site.site).into_iter().take(MAX_DEPTH) {
            let next = nodes.len();
            at = *nodes[at].above.entry(name).or_insert(next);
            if at == next {
                nodes.push(Node::default());
            }
            nodes[at].add(base.bytes, new.bytes);
        }
        let width = &mut nodes[at].width;
        *width = width.saturating_add(base.bytes.max(new.bytes));
    }
    nodes
}

impl Node {
    fn change(&self) -> i128 {
        i128::from(self.new) - i128::from(self.base)
    }

    fn add(&mut self, base: u64, new: u64) {
        self.base = self.base.saturating_add(base);
        self.new = self.new.saturating_add(new);
    }
}

/// Lines for inferno, each stack beside those that it begins like; and the change of each name.
fn lines(nodes: &[Node], changes: &mut BTreeMap<String, i128>) -> Vec<(String, u64)> {
    let mut lines = Vec::new();
    let mut waiting = vec![(&nodes[0], String::new())];
    while let Some((node, stack)) = waiting.pop() {
        if node.width > 0 && !stack.is_empty() {
            lines.push((stack.clone(), node.width));
        }
        for (name, above) in node.above.iter().rev() {
            let above = &nodes[*above];
            let label = format!("{name} [{}]", Delta(above.change()));
            let separator = if stack.is_empty() { "" } else { ";" };
            let longer = format!("{stack}{separator}{label}");
            changes.insert(label, above.change());
            waiting.push((above, longer));
        }
    }
    lines
}

/// Grey for no change, pale to full red or blue for the most; the root of the share, so that small ones can be seen.
fn color(change: i128, most: u128) -> Color {
    let share = (change.unsigned_abs() as f64 / most.max(1) as f64).sqrt();
    let pale = 230 - (150.0 * share) as u8;
    match change {
        0 => grey(225),
        growth if growth > 0 => Color {
            r: 255,
            g: pale,
            b: pale,
        },
        _ => Color {
            r: pale,
            g: pale,
            b: 255,
        },
    }
}

fn grey(level: u8) -> Color {
    Color {
        r: level,
        g: level,
        b: level,
    }
}

fn title(diff: &Diff<'_>) -> String {
    let apart = match diff.relation {
        Relation::SameRun { seconds } => format!("{} apart", Seconds(seconds.abs())),
        Relation::TwoRuns => "two attaches".to_owned(),
    };
    format!(
        "change of outstanding bytes of {} (pid {}), {apart}",
        clean::name(&diff.new.target.comm),
        diff.new.target.pid
    )
}

fn subtitle(diff: &Diff<'_>) -> String {
    let (base, new, estimated) = diff.totals();
    let sign = if estimated { "~" } else { "" };
    let rate = diff.rate(base, new).map_or(String::new(), |rate| {
        format!(" ({sign}{})", evolution::rate(rate))
    });
    let warnings = match diff.warnings.len() {
        0 => String::new(),
        count => format!(" · {count} differences make them hard to compare"),
    };
    format!(
        "{sign}{} to {sign}{}{rate} · red grew, blue shrank; width: the larger of both{warnings}",
        Bytes(base),
        Bytes(new)
    )
}
