//! Renders a capture.
//!
//! Everything here is a function from a [`Capture`] to bytes: no kernel, no target, no root.

pub mod accounting;
pub mod caller;
pub mod clean;
pub mod diff;
pub mod evolution;
pub mod folded;
pub mod html;
pub mod json;
pub mod listing;
pub mod pprof;
pub mod speedscope;
pub mod svg;
pub mod table;
pub mod text;
pub mod units;
pub mod verdict;

#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, Write};

use regex::Regex;

use crate::capture::{Capture, Site};

/// What a capture is rendered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Format {
    Text,
    Folded,
    Svg,
    Json,
    Html,
    Pprof,
    Speedscope,
}

impl Format {
    /// The file of a bundle that holds this format.
    pub fn file_name(self) -> &'static str {
        match self {
            Format::Text => "report.txt",
            Format::Folded => "stacks.folded",
            Format::Svg => "flame.svg",
            Format::Json => "capture.json",
            Format::Html => "report.html",
            Format::Pprof => "profile.pb.gz",
            Format::Speedscope => "stacks.speedscope.json",
        }
    }
}

impl Format {
    /// What is not to be shown on a terminal.
    pub fn is_binary(self) -> bool {
        self == Format::Pprof
    }

    /// As it is asked for.
    pub fn word(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Folded => "folded",
            Format::Svg => "svg",
            Format::Json => "json",
            Format::Html => "html",
            Format::Pprof => "pprof",
            Format::Speedscope => "speedscope",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        clap::ValueEnum::from_str(word, true).map_err(|_| {
            format!(
                "unknown format `{word}`: use text, folded, svg, html, pprof, speedscope or json"
            )
        })
    }
}

/// The order of sites in a text report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Sort {
    /// Most outstanding bytes first.
    #[default]
    Bytes,
    /// Most outstanding allocations first.
    Count,
    /// Most bytes per hour first, by the readings over time; without these, most bytes gained since the snapshot before.
    Growth,
    /// Oldest outstanding allocation first.
    Age,
}

impl Sort {
    fn words(self) -> &'static str {
        match self {
            Sort::Bytes => "outstanding bytes",
            Sort::Count => "outstanding count",
            Sort::Growth => "growth",
            Sort::Age => "age of the oldest",
        }
    }
}

/// Which sites are shown.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only sites whose oldest outstanding allocation is at least so old, in seconds.
    pub older_seconds: Option<f64>,
    /// Only sites with a frame name that matches.
    pub include: Option<Regex>,
    /// No sites with a frame name that matches.
    pub exclude: Option<Regex>,
    /// Only sites with at least so many outstanding allocations.
    pub min_count: u64,
}

impl Filter {
    /// Whether the site is to be shown.
    pub fn passes(&self, site: &Site) -> bool {
        let matched = |regex: &Regex| site.frames.iter().any(|frame| regex.is_match(&frame.name));
        site.outstanding_count >= self.min_count
            && self
                .older_seconds
                .is_none_or(|age| site.oldest_seconds >= age)
            && self.include.as_ref().is_none_or(matched)
            && !self.exclude.as_ref().is_some_and(matched)
    }

    /// The sites of a capture that are to be shown, in the capture's order.
    pub fn select<'a>(&self, capture: &'a Capture) -> Vec<&'a Site> {
        capture
            .sites
            .iter()
            .filter(|site| self.passes(site))
            .collect()
    }
}

/// How a capture is rendered.
#[derive(Clone, Debug)]
pub struct Options {
    pub filter: Filter,
    /// How many sites a text report lists.
    pub top: usize,
    pub sort: Sort,
    /// Terminal colours in text.
    pub color: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            filter: Filter::default(),
            top: 10,
            sort: Sort::default(),
            color: false,
        }
    }
}

/// Writes the capture in the format. JSON is always the whole capture; the other formats obey the filter.
pub fn render(
    capture: &Capture,
    format: Format,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Text => text::write(capture, options, out),
        Format::Folded => folded::write(capture, &options.filter, out),
        Format::Svg => svg::write(capture, &options.filter, out),
        Format::Json => json::write(capture, out),
        Format::Html => html::write(capture, options, out),
        Format::Pprof => pprof::write(capture, &options.filter, out),
        Format::Speedscope => speedscope::write(capture, &options.filter, out),
    }
}
