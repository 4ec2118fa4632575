//! A native key-value store in a JVM, RocksDB by JNI, whose iterators nobody closes.

use std::fs;
use std::path::{Path, PathBuf};

use offheap::triage::verdict::Cause;
use serde_json::Value;
use tempfile::TempDir;

use super::{Missing, Played, Row, Scenario, Stage, rows};
use crate::Target;
use crate::sources::{CFlags, c_library, has_header, jni_includes};
use crate::triage::last;

const QUERY: &str = "targets.Store.query";
/// Besides its block an iterator has an arena, a state of its parts, and keeps the index's iterator.
const ITERATOR: u64 = 24 << 10;
/// What the JVM's compilers take besides.
const OTHER: u64 = 16 << 20;

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
    let grown = last(&report).rss.saturating_sub(report.looks[0].rss);
    stage.within(
        "growth that triage calls native, by RSS",
        report.verdict[0].bytes,
        grown * 7 / 10..=grown + OTHER,
    );

    let tool = stage.capture(&target);
    let (_, open_before) = round(&mut target);
    stage.say("\n$ kill -USR1 <offheap>   a bundle now, BASE, and one at the end, NEW");
    tool.signal(libc::SIGUSR1);
    tool.await_stderr("the bundle", |line| line.contains("written: "));
    let base = folder.path().join("base.json");
    fs::copy(tool.bundle().join("capture.json"), &base).expect("the first bundle");
    let rounds = [round(&mut target), round(&mut target)];
    let (_, finished) = stage.captured(&target, tool);
    let diff = stage.diff(&base, &finished.bundle());
    let sites = diff["sites"].as_array().map_or(&[][..], Vec::as_slice);
    let unpacked = rounds.iter().map(|(bytes, _)| bytes).sum();
    growth(stage, sites, unpacked, rounds[1].1 - open_before);
    names(stage, sites);
    Ok(())
}

/// What grew is below the Java caller, and has grown by what RocksDB says.
fn growth(stage: &mut Stage, sites: &[Value], unpacked: u64, iterators: u64) {
    let blocks = || sites.iter().filter(|site| site["kind"] == "malloc");
    let below = || blocks().filter(|site| frames(site).contains(&QUERY));
    let unpacks = |name: &&str| name.starts_with("rocksdb::") && name.contains("compress");
    let unpacking = below().filter(|site| frames(site).iter().any(unpacks));
    stage.equal("growth in unpacked blocks", grown(unpacking), unpacked);
    let query = grown(below());
    stage.within(
        &format!("growth below {QUERY}, by {iterators} iterators"),
        query,
        unpacked..=unpacked + iterators * ITERATOR,
    );
    stage.within(
        "growth of all blocks",
        grown(blocks()),
        query..=query + OTHER,
    );
}

fn grown<'a>(sites: impl Iterator<Item = &'a Value>) -> u64 {
    let bytes = sites.filter_map(|site| site["growth_bytes"].as_i64());
    bytes.sum::<i64>().try_into().unwrap_or(0)
}

/// What grew most has a whole stack, from functions of RocksDB to the Java caller.
fn names(stage: &mut Stage, sites: &[Value]) {
    let first = sites.iter().find(|site| site["kind"] == "malloc");
    let names = first.map(frames).unwrap_or_default();
    let native = names.iter().filter(|name| name.starts_with("rocksdb::"));
    let native = native.count();
    stage.holds(
        native >= 3 && names.contains(&QUERY),
        format!("what grew most goes through {native} functions of RocksDB and {QUERY}"),
    );
    stage.holds(
        first.is_some_and(|site| site["stack_end"] == "root"),
        "its stack reaches the thread's root",
    );
}

fn frames(site: &Value) -> Vec<&str> {
    let frames = site["frames"].as_array();
    let names = frames
        .into_iter()
        .flatten()
        .filter_map(|frame| frame["name"].as_str());
    names.collect()
}
