//! A native key-value store in a JVM, RocksDB by JNI, whose iterators nobody closes.

use std::fs;
use std::path::{Path, PathBuf};

use offheap::capture::SiteKind;
use offheap::triage::verdict::Cause;
use serde_json::Value;
use tempfile::TempDir;

use super::{Missing, Played, Row, Scenario, Stage, rows};
use crate::sources::{CFlags, c_library, has_header, jni_includes};
use crate::triage::last;
use crate::{Target, checks};

const QUERY: &str = "targets.Store.query";
/// Besides its block an iterator has an arena, a state of its parts, and keeps the index's iterator.
const ITERATOR: u64 = 24 << 10;

pub const STORE: Scenario = Scenario {
    name: "store",
    shows: "RocksDB inside a JVM whose iterators nobody closes: the diff of two captures names rocksdb:: and the Java caller",
    rows: rows::usual,
    play: store,
};

/// The service on RocksDB, `leaky` or `healthy`, with its files in `folder`.
pub fn service(stage: &mut Stage, row: &Row, kind: &str, folder: &Path) -> Result<Target, Missing> {
    let library = library()?;
    let arguments = [&library, folder, Path::new(kind)].map(Path::as_os_str);
    stage.java(row, "Store", &arguments)
}

fn library() -> Result<PathBuf, Missing> {
    if !has_header("rocksdb/c.h") {
        return Err(Missing("rocksdb/c.h (librocksdb-dev)".to_owned()));
    }
    let includes = jni_includes().ok_or_else(|| Missing("jni.h of a JDK".to_owned()))?;
    let flags = CFlags {
        compile: &[&includes[0], &includes[1]],
        link: &["-lrocksdb"],
    };
    Ok(c_library("store_jni", flags))
}

/// What a round added, by the store's own statistics: bytes of blocks that it unpacked; and how many iterators are open.
fn round(target: &mut Target) -> (u64, u64) {
    target.say("go");
    let [unpacked, open] =
        ["unpacked ", "iterators "].map(|word| target.await_value(word).parse().expect("a number"));
    target.await_word("done");
    (unpacked, open)
}

fn store(stage: &mut Stage, row: &Row) -> Played {
    let folder = TempDir::new().expect("a temporary directory");
    let mut target = service(stage, row, "leaky", &folder.path().join("store"))?;
    let (report, _) = stage.looks(&mut target, 3);
    stage.verdict(&report, &[Cause::Native]);
    let says = &report.verdict[0].says;
    stage.holds(says.contains("malloc"), format!("it is malloc's: {says}"));

    let tool = stage.capture(&target);
    let (_, open_before) = round(&mut target);
    stage.say("\n$ kill -USR1 <offheap>   a bundle now, BASE, and one at the end, NEW");
    tool.signal(libc::SIGUSR1);
    tool.await_stderr("the bundle", |line| line.contains("written: "));
    let base = folder.path().join("base.json");
    fs::copy(tool.bundle().join("capture.json"), &base).expect("the first bundle");
    let rounds = [round(&mut target), round(&mut target)];
    let (capture, finished) = stage.captured(&target, tool);
    checks::assert_conserved_within(&capture, 64);
    let unpacked: u64 = rounds.iter().map(|(bytes, _)| bytes).sum();
    let diff = stage.diff(&base, &finished.bundle());
    let iterators = rounds[1].1 - open_before;
    growth(stage, &diff, unpacked, iterators);
    let grown = last(&report).rss - report.looks[0].rss;
    stage.within(
        "growth that triage calls native",
        report.verdict[0].bytes,
        grown * 8 / 10..=grown,
    );
    Ok(())
}

/// The sites that grew are below the Java caller, name functions of RocksDB, and have grown by what it says.
fn growth(stage: &mut Stage, diff: &Value, unpacked: u64, iterators: u64) {
    let none = Vec::new();
    let sites = diff["sites"].as_array().unwrap_or(&none);
    let below = |site: &&Value| site["kind"] == "malloc" && frames(site).contains(&QUERY);
    let below: Vec<&Value> = sites.iter().filter(below).collect();
    let grown = |sites: &[&Value]| -> u64 {
        let bytes = sites
            .iter()
            .filter_map(|site| site["growth_bytes"].as_i64());
        bytes.sum::<i64>().try_into().unwrap_or(0)
    };
    let unpacking = |site: &&Value| {
        let names = frames(site);
        names
            .iter()
            .any(|name| name.starts_with("rocksdb::") && name.contains("ncompress"))
    };
    let blocks: Vec<&Value> = below.iter().copied().filter(unpacking).collect();
    stage.equal("growth in unpacked blocks", grown(&blocks), unpacked);
    stage.within(
        &format!("growth below {QUERY}, by {iterators} iterators"),
        grown(&below),
        unpacked..=unpacked + iterators * ITERATOR,
    );
    let whole = sum_of_malloc(sites);
    stage.within(
        "growth of all blocks",
        whole,
        grown(&below)..=grown(&below) * 21 / 20,
    );
    let first = sites.iter().find(|site| site["kind"] == "malloc");
    let names = first.map(frames).unwrap_or_default();
    let native = names.iter().filter(|name| name.starts_with("rocksdb::"));
    stage.holds(
        native.clone().count() >= 3 && names.contains(&QUERY),
        format!(
            "what grew most goes through {} functions of RocksDB and {QUERY}",
            native.count()
        ),
    );
    let whole_stack = first.is_some_and(|site| site["stack_end"] == "root");
    stage.holds(whole_stack, "its stack reaches the thread's root");
}

fn sum_of_malloc(sites: &[Value]) -> u64 {
    let malloc = serde_json::to_value(SiteKind::Malloc).unwrap_or_default();
    let of_malloc = sites.iter().filter(|site| site["kind"] == malloc);
    let bytes: i64 = of_malloc
        .filter_map(|site| site["growth_bytes"].as_i64())
        .sum();
    bytes.try_into().unwrap_or(0)
}

fn frames(site: &Value) -> Vec<&str> {
    let frames = site["frames"].as_array();
    let names = frames
        .into_iter()
        .flatten()
        .filter_map(|frame| frame["name"].as_str());
    names.collect()
}
