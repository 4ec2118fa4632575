//! A profile for pprof: `profile.pb.gz`.
//!
//! See `docs/formats/pprof.md`. Each byte is in one sample, by the rule of [`accounting`].

pub mod proto;
mod tables;

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use prost::Message;

use crate::capture::{Capture, Owner, Site};
use crate::report::listing::kind_word;
use crate::report::{Filter, accounting, folded, text};
use proto::{Label, Profile, Sample, ValueType};
use tables::Tables;

/// Type and unit of the values, in their order.
const VALUES: [(&str, &str); 4] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
];

/// Writes the profile, compressed.
///
/// # Errors
/// Those of the writer.
pub fn write(capture: &Capture, filter: &Filter, out: &mut dyn Write) -> io::Result<()> {
    let bytes = profile(capture, filter)?.encode_to_vec();
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&bytes)?;
    gzip.finish().map(drop)
}

/// The profile before it is encoded.
///
/// # Errors
/// None but those of writing to memory.
pub fn profile(capture: &Capture, filter: &Filter) -> io::Result<Profile> {
    let mut tables = Tables::new(capture);
    let sample = filter
        .select(capture)
        .into_iter()
        .filter(|site| accounting::counts(site, &capture.settings.hooks))
        .map(|site| sample(site, &mut tables))
        .collect();
    let mut pair = |(kind, unit)| ValueType {
        kind: tables.text(kind),
        unit: tables.text(unit),
    };
    let sample_type = VALUES.map(&mut pair).to_vec();
    let period_type = Some(pair(("space", "bytes")));
    let default_sample_type = tables.text("inuse_space");
    let comments = comments(capture)?;
    let comment = comments.iter().map(|line| tables.text(line)).collect();
    let finished = tables.finish();
    Ok(Profile {
        sample_type,
        sample,
        mapping: finished.mappings,
        location: finished.locations,
        function: finished.functions,
        string_table: finished.strings,
        time_nanos: started(&capture.window.start),
        duration_nanos: (capture.window.seconds * 1e9) as i64,
        period_type,
        // Every allocation is one where nothing is sampled.
        period: number(capture.settings.sample_bytes.max(1)),
        comment,
        default_sample_type,
    })
}

fn sample<'a>(site: &'a Site, tables: &mut Tables<'a>) -> Sample {
    let mut location_id = Vec::with_capacity(site.frames.len() + 1);
    if let Some(stream) = folded::stream(site.kind) {
        location_id.push(tables.mark(stream));
    }
    location_id.extend(tables.locations(&site.frames));
    if !accounting::end_is_told(site) || location_id.is_empty() {
        location_id.push(tables.mark(&format!("[{}]", site.stack_end)));
    }
    Sample {
        location_id,
        value: vec![
            number(site.allocated_count),
            number(site.allocated_bytes),
            number(site.outstanding_count),
            number(site.outstanding_bytes),
        ],
        label: labels(site, tables),
    }
}

fn labels(site: &Site, tables: &mut Tables<'_>) -> Vec<Label> {
    let mut labels = vec![("kind", kind_word(site.kind))];
    if site.estimated {
        labels.push(("estimated", "true"));
    }
    if let Some(owner) = site.owner {
        labels.push(("owner", owner_word(owner)));
    }
    if accounting::is_zlib_memory(site) {
        labels.push(("held_by", "zlib stream"));
    }
    if site.stack_end != "root" {
        labels.push(("stack_end", &site.stack_end));
    }
    if let Some(thread) = &site.thread {
        labels.push(("thread", thread));
    }
    let label = |(key, value)| Label {
        key: tables.text(key),
        text: tables.name(value),
    };
    labels.into_iter().map(label).collect()
}

/// As in `capture.json`.
fn owner_word(owner: Owner) -> &'static str {
    match owner {
        Owner::Allocator => "allocator",
        Owner::ThreadStack => "thread-stack",
        Owner::Jvm => "jvm",
        Owner::Other => "other",
    }
}

/// The honesty block, a line each.
fn comments(capture: &Capture) -> io::Result<Vec<String>> {
    let mut block = Vec::new();
    text::write_honesty(capture, &mut block)?;
    let block = String::from_utf8_lossy(&block);
    Ok(block
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Nanoseconds since 1970; 0, which is unknown, where the text is no time.
fn started(start: &str) -> i64 {
    let time: Option<Timestamp> = start.parse().ok();
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .unwrap_or(0)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
