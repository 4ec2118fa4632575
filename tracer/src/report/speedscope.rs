//! The stacks for speedscope: `stacks.speedscope.json`.
//!
//! See `docs/formats/speedscope.md`. Each byte is in one stack, by the rule of [`accounting`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::capture::{Capture, Frame, Site};
use crate::report::{Filter, accounting, clean, folded};

/// The format's own name, which readers check.
const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: String,
    name: String,
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<SharedFrame<'a>>,
}

#[derive(Serialize)]
struct SharedFrame<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    /// Root first.
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

/// What one profile shows.
struct Metric {
    name: &'static str,
    unit: &'static str,
    of: fn(&Site) -> u64,
}

const METRICS: [Metric; 3] = [
    Metric {
        name: "outstanding bytes",
        unit: "bytes",
        of: |site| site.outstanding_bytes,
    },
    Metric {
        name: "outstanding count",
        unit: "none",
        of: |site| site.outstanding_count,
    },
    Metric {
        name: "allocated bytes",
        unit: "bytes",
        of: |site| site.allocated_bytes,
    },
];

/// Writes the file.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, filter: &Filter, out: &mut dyn Write) -> io::Result<()> {
    let mut frames = Frames::default();
    let sites: Vec<(&Site, Vec<usize>)> = filter
        .select(capture)
        .into_iter()
        .filter(|site| accounting::counts(site, &capture.settings.hooks))
        .map(|site| (site, frames.stack(site)))
        .collect();
    let target = &capture.target;
    let file = File {
        schema: SCHEMA,
        exporter: format!("offheap {}", clean::name(&capture.tool.version)),
        name: format!("{} (pid {})", clean::name(&target.comm), target.pid),
        active_profile_index: 0,
        shared: Shared {
            frames: frames.frames,
        },
        profiles: METRICS
            .iter()
            .map(|metric| profile(metric, &sites))
            .collect(),
    };
    serde_json::to_writer(&mut *out, &file)?;
    out.write_all(b"\n")
}

/// Stacks with the same frames stay apart: speedscope adds them up.
fn profile(metric: &Metric, sites: &[(&Site, Vec<usize>)]) -> Profile {
    let held = sites
        .iter()
        .map(|(site, stack)| ((metric.of)(site), stack))
        .filter(|(value, _)| *value > 0);
    let (weights, samples): (Vec<u64>, Vec<Vec<usize>>) =
        held.map(|(value, stack)| (value, stack.clone())).unzip();
    Profile {
        kind: "sampled",
        name: metric.name,
        unit: metric.unit,
        start_value: 0,
        end_value: weights
            .iter()
            .fold(0, |sum, value| sum.saturating_add(*value)),
        samples,
        weights,
    }
}

/// Every frame once.
#[derive(Default)]
struct Frames<'a> {
    known: HashMap<&'a Frame, usize>,
    marks: HashMap<String, usize>,
    frames: Vec<SharedFrame<'a>>,
}

impl<'a> Frames<'a> {
    /// Root first; incomplete stacks begin with the reason, streams end with what they are.
    fn stack(&mut self, site: &'a Site) -> Vec<usize> {
        let mut stack = Vec::with_capacity(site.frames.len() + 2);
        if !accounting::end_is_told(site) {
            stack.push(self.mark(folded::end_marker(site)));
        }
        stack.extend(site.frames.iter().rev().map(|frame| self.frame(frame)));
        if let Some(stream) = folded::stream(site.kind) {
            stack.push(self.mark(stream.to_owned()));
        }
        if stack.is_empty() {
            stack.push(self.mark("[no frames]".to_owned()));
        }
        stack
    }

    fn frame(&mut self, frame: &'a Frame) -> usize {
        *self.known.entry(frame).or_insert_with(|| {
            self.frames.push(SharedFrame {
                name: clean::name(&frame.name),
                file: frame
                    .file
                    .as_deref()
                    .or(frame.module.as_deref())
                    .map(clean::name),
                line: frame.line,
            });
            self.frames.len() - 1
        })
    }

    fn mark(&mut self, word: String) -> usize {
        *self.marks.entry(word).or_insert_with_key(|word| {
            self.frames.push(SharedFrame {
                name: Cow::Owned(word.clone()),
                file: None,
                line: None,
            });
            self.frames.len() - 1
        })
    }
}
