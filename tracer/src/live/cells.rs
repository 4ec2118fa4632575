//! What stands in the columns.

use crate::capture::{Ages, Site, Trend, TrendClass};
use crate::report::listing::count_estimated;
use crate::report::units::{Bytes, Count, Delta, Seconds};
use crate::report::verdict::mark;

use super::state::Figures;

/// Heights of a sparkline, lowest first: block elements, or what every terminal has.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PLAIN: [char; 8] = ['_', '.', '-', '~', '=', '+', '*', '#'];

/// How lines are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyphs {
    Unicode,
    Ascii,
}

pub fn bytes(site: &Site, figures: Figures) -> String {
    match figures {
        Figures::Estimated => format!("{}{}", mark(site.estimated), Bytes(site.outstanding_bytes)),
        Figures::Recorded => Bytes(site.recorded_bytes).to_string(),
    }
}

pub fn count(site: &Site, figures: Figures) -> String {
    match figures {
        Figures::Estimated => {
            format!(
                "{}{}",
                mark(count_estimated(site)),
                Count(site.outstanding_count)
            )
        }
        Figures::Recorded => Count(site.recorded_count).to_string(),
    }
}

/// Bytes since the capture before.
pub fn growth(site: &Site) -> String {
    match site.growth_bytes {
        Some(bytes) => Delta(i128::from(bytes)).to_string(),
        None => "-".to_owned(),
    }
}

pub fn oldest(site: &Site) -> String {
    if site.outstanding_count == 0 {
        return "-".to_owned();
    }
    // Two units are too wide for a column.
    let text = Seconds(site.oldest_seconds).to_string();
    text.replace(" min ", "m")
        .replace(" h ", "h")
        .replace(" d ", "d")
        .replace(' ', "")
}

/// A name in at most so many characters: packages shrink to their first letters, from the left, and then what is left of
/// the end goes.
pub fn fit(name: &str, room: usize) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    // The class and the method stay.
    let packages = parts.len().saturating_sub(2);
    let length = |parts: &[&str]| {
        parts
            .iter()
            .map(|part| part.chars().count() + 1)
            .sum::<usize>()
    };
    for package in 0..packages {
        if length(&parts) <= room + 1 {
            break;
        }
        let first = parts[package].chars().next().map_or(0, char::len_utf8);
        parts[package] = &parts[package][..first];
    }
    let short = parts.join(".");
    match short.char_indices().nth(room) {
        Some((end, _)) => short[..end].to_owned(),
        None => short,
    }
}

/// The readings in so many characters, from zero to the highest; the last reading is at the right.
pub fn sparkline(readings: &[u64], width: usize, glyphs: Glyphs) -> String {
    let heights = match glyphs {
        Glyphs::Unicode => BLOCKS,
        Glyphs::Ascii => PLAIN,
    };
    let highest = readings.iter().copied().max().unwrap_or(0);
    if highest == 0 || width == 0 {
        return " ".repeat(width);
    }
    let columns = width.min(readings.len());
    let line = (0..columns).map(|column| {
        // Each column shows the last of its readings, so that the newest is always one.
        let last = (column + 1) * readings.len() / columns - 1;
        let height = readings[last] as f64 / highest as f64 * (heights.len() - 1) as f64;
        heights[height.round() as usize]
    });
    let line: String = line.collect();
    format!("{}{line}", " ".repeat(width - columns))
}

pub fn series(site: &Site) -> &[u64] {
    site.series.as_ref().map_or(&[], |series| &series.bytes)
}

/// The class of a site, in a word.
pub fn class(site: &Site) -> &'static str {
    match site.trend.as_ref().and_then(|trend| trend.class) {
        Some(TrendClass::Growing) => "growing",
        Some(TrendClass::Shrinking) => "shrinking",
        Some(TrendClass::Plateau) => "plateau",
        Some(TrendClass::Sawtooth) => "sawtooth",
        Some(TrendClass::EndedByCleaner) => "by cleaner",
        Some(TrendClass::New) => "new",
        None => "-",
    }
}

/// What the readings say of a site, in a line; none where nothing can be said.
pub fn trend(trend: &Trend) -> Option<String> {
    trend.class?;
    let rate = |bytes: f64| format!("{}/h", Delta(bytes as i128));
    Some(format!(
        "{} ({} to {}), from {} readings over {}",
        rate(trend.bytes_per_hour),
        rate(trend.low),
        rate(trend.high),
        Count(trend.points),
        Seconds(trend.seconds),
    ))
}

/// How many have lived how long, one power of two a column.
pub fn ages(ages: &Ages, glyphs: Glyphs) -> Vec<(String, String)> {
    let line = |counts: &[u64]| {
        let from = counts.iter().position(|count| *count > 0)?;
        let limits = format!("{} to {}", limit(from), limit(counts.len()));
        Some((
            limits,
            sparkline(&counts[from..], counts.len() - from, glyphs),
        ))
    };
    let outstanding = line(&ages.outstanding).map(|(limits, line)| ("outstanding", limits, line));
    let freed = line(&ages.freed).map(|(limits, line)| ("freed", limits, line));
    let lines = [outstanding, freed].into_iter().flatten();
    lines
        .map(|(what, limits, line)| (format!("{what}, {limits}"), line))
        .collect()
}

/// Where the bucket of this number begins.
fn limit(bucket: usize) -> String {
    match bucket {
        0 => "0".to_owned(),
        _ => Seconds(2f64.powi(bucket.min(60) as i32 - 1) / 1e3).to_string(),
    }
}
