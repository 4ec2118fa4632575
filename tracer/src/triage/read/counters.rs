//! The JVM's counters: finding its perf data, and what of it is reported.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::super::perf_data::{self, PerfData};
use super::super::reading::Jvm;
use super::super::smaps::Mapping;
use crate::target::process::Process;
use crate::target::root;
use crate::unwind::memory::Memory;

/// The perf data: the file that is mapped, by the target's own path, or what is mapped of it. The reason where there is none.
pub(super) fn perf_data(
    process: &Process,
    memory: &impl Memory,
    mappings: &[Mapping],
    range: Option<(u64, u64)>,
) -> Result<(PerfData, &'static str), String> {
    let mapped = mappings
        .iter()
        .find(|mapping| mapping.shared && mapping.name.contains("/hsperfdata_"));
    let file = mapped.and_then(|mapping| {
        let top = root::of(process.directory()).ok()?;
        let file = root::open_plain_in(&top, Path::new(&*mapping.name)).ok()?;
        is_that(&file, mapping).then_some(file)
    });
    let mut bytes = Vec::new();
    if let Some(file) = file
        && file
            .take(perf_data::MAX_BYTES as u64)
            .read_to_end(&mut bytes)
            .is_ok()
        && let Ok(data) = perf_data::parse(&bytes)
    {
        return Ok((data, "file"));
    }
    let range = mapped.map(|mapping| (mapping.start, mapping.end)).or(range);
    let Some((start, end)) = range else {
        return Err("none (-XX:-UsePerfData)".to_owned());
    };
    let len = usize::try_from(end - start)
        .unwrap_or(usize::MAX)
        .min(perf_data::MAX_BYTES);
    let bytes = memory
        .read_vec(start, len)
        .map_err(|_| "can't be read".to_owned())?;
    let data = perf_data::parse(&bytes).map_err(|reason| reason.to_string())?;
    Ok((data, "memory"))
}

/// Whether a file is the one that is mapped: something else may lie at its path by now.
fn is_that(file: &File, mapping: &Mapping) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.ino() == mapping.inode)
}

pub(super) fn apply(data: &PerfData, source: &str, jvm: &mut Jvm) {
    jvm.perf_data = source.to_owned();
    jvm.version = data.java_version().map(str::to_owned);
    jvm.heap.generations = data.generations();
    jvm.heap.old_after_full = data.old_after_full();
    jvm.collections = data.collections();
    jvm.classes = data.classes().or(jvm.classes);
    jvm.java_threads = jvm.java_threads.or(data.java_threads());
}
