//! Reads everything of one look. Nothing of the target is stopped, signalled or written.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::time::Instant;

use super::claims::Claims;
use super::glibc::{self, Glibc};
use super::java::Described;
use super::owners::{Kind, shared_pieces};
use super::perf_data::{self, PerfData};
use super::reading::{Facts, Jvm, Malloc, Reading};
use super::residence::Residence;
use super::shape::ARENA_HEAP;
use super::smaps::{self, Mapping, Smaps};
use super::{cgroup, tasks};
use crate::target::modules::ModuleTable;
use crate::target::process::Process;
use crate::target::{Tid, root};
use crate::unwind::hotspot::{UnsupportedJvm, is_libjvm};
use crate::unwind::memory::{Memory, ProcessMemory};

/// A pass over `smaps` is believed where `smaps_rollup` right behind it says the same within this share of a percent …
const AGREES: u64 = 200;
/// … or within this many bytes.
const AGREES_BYTES: u64 = 1 << 20;
/// Else it is read again, so often in all.
const PASSES: usize = 3;
/// Threads whose stack pointers are asked for; the stacks of others are known by their shape.
const MAX_POINTERS: usize = 8192;
/// Mappings whose first words are read to find blocks of malloc.
const MAX_BLOCKS: usize = 1 << 16;
/// Addresses at which an arena's heap may begin.
const MAX_HEAPS: usize = 1 << 16;

/// Looks at one process, again and again. What does not change is read once.
pub struct Looker<'a> {
    process: &'a Process,
    memory: io::Result<ProcessMemory>,
    residence: Option<Residence>,
    jvm: Option<Result<Described, UnsupportedJvm>>,
    glibc: Option<Glibc>,
    begin: Instant,
}

impl<'a> Looker<'a> {
    pub fn new(process: &'a Process) -> Looker<'a> {
        Looker {
            process,
            memory: ProcessMemory::open(process.pid.0),
            residence: Residence::of(process).ok(),
            jvm: None,
            glibc: None,
            begin: Instant::now(),
        }
    }

    /// One look.
    ///
    /// # Errors
    /// When the process has ended, or its `smaps` may not be read.
    pub fn look(&mut self) -> io::Result<Reading> {
        let seconds = self.begin.elapsed().as_secs_f64();
        let (smaps, rollup_rss) = passes(self.process)?;
        let (threads, tids) = tasks::threads(self.process)?;
        let mut reading = Reading {
            seconds,
            mappings: smaps.mappings,
            ..Reading::default()
        };
        let facts = &mut reading.facts;
        (facts.rollup_rss, facts.threads) = (rollup_rss, threads);
        if smaps.truncated {
            facts.missing.push(format!("mappings beyond the first {}", smaps::MAX_MAPPINGS));
        }
        status(self.process, facts);
        facts.descriptors = tasks::descriptors(self.process);
        facts.cgroup = cgroup::read(self.process);
        self.java(&mut reading);
        self.stacks(&mut reading, &tids);
        self.malloc(&mut reading);
        self.pieces(&mut reading);
        Ok(reading)
    }

    /// The JVM's own word, where there is a JVM.
    fn java(&mut self, reading: &mut Reading) {
        let is_java = |mapping: &Mapping| mapping.name.ends_with("/libjvm.so");
        if !reading.mappings.iter().any(is_java) {
            return;
        }
        let memory = match &self.memory {
            Ok(memory) => memory,
            Err(error) => {
                reading.facts.missing.push(format!("the JVM's memory can't be read: {error}"));
                return;
            }
        };
        if !matches!(self.jvm, Some(Ok(_))) {
            self.jvm = Some(describe(self.process, memory));
        }
        let mut claims = Claims::default();
        let mut jvm = match &self.jvm {
            Some(Ok(described)) => described.look(memory, &reading.mappings, &mut claims),
            Some(Err(reason)) => Jvm {
                unsupported: Some(reason.to_string()),
                ..Jvm::default()
            },
            None => Jvm::default(),
        };
        let range = self.jvm.as_ref().and_then(|jvm| jvm.as_ref().ok()?.perf_data(memory));
        match perf_data(self.process, memory, &reading.mappings, range) {
            Ok((data, source)) => apply(&data, source, &mut jvm),
            Err(reason) => jvm.perf_data = reason,
        }
        jvm.environment = tasks::environment(self.process);
        reading.claims = claims;
        reading.facts.jvm = Some(jvm);
    }

    /// Stacks that waiting threads are on.
    fn stacks(&self, reading: &mut Reading, tids: &[Tid]) {
        for &tid in tids.iter().take(MAX_POINTERS) {
            let Some(pointer) = tasks::stack_pointer(self.process, tid) else { continue };
            let at = reading.mappings.partition_point(|mapping| mapping.end <= pointer);
            let Some(mapping) = reading.mappings.get(at).filter(|mapping| mapping.start <= pointer) else {
                continue;
            };
            if mapping.is_anonymous() && mapping.writable && reading.claims.at(pointer).is_none() {
                reading.claims.add(mapping.start, mapping.end, Kind::OtherStacks, false);
            }
        }
    }

    /// What the allocator says.
    fn malloc(&mut self, reading: &mut Reading) {
        reading.facts.malloc = Malloc {
            name: allocator(&reading.mappings),
            ..Malloc::default()
        };
        let Ok(memory) = &self.memory else {
            reading.facts.malloc.unknown = Some("the process's memory can't be read".to_owned());
            return;
        };
        if self.glibc.is_none() {
            self.glibc = Glibc::find(memory, &data_segments(memory, &reading.mappings));
        }
        let Some(found) = self.glibc else {
            let name = reading.facts.malloc.name.as_deref();
            let reason = match name {
                Some("glibc") | None => "no main_arena of a known glibc was found",
                Some(_) => "only glibc's structures are known",
            };
            reading.facts.malloc.unknown = Some(reason.to_owned());
            return;
        };
        let residence = self.residence.as_ref();
        let resident = |from, to| residence.map_or(0, |residence| residence.bytes(from, to));
        let candidates = heap_candidates(reading, &resident);
        let arenas = found.read(memory, &candidates, &resident);
        for &heap in &arenas.heaps {
            reading.claims.add(heap, heap + ARENA_HEAP, Kind::MallocArenas, false);
        }
        let malloc = &mut reading.facts.malloc;
        (malloc.heaps, malloc.arenas) = (arenas.heaps.len() as u64, arenas.arenas);
        // Another allocator in front of it uses it little.
        if malloc.name.is_none() {
            malloc.name = Some("glibc".to_owned());
        }
        large(memory, reading, &resident);
    }

    /// Mappings that several owners share are looked at page by page.
    fn pieces(&self, reading: &mut Reading) {
        let Some(residence) = &self.residence else { return };
        for (start, end) in shared_pieces(reading) {
            reading.pieces.insert((start, end), residence.bytes(start, end));
        }
    }
}

/// Passes over `smaps` until one agrees with `smaps_rollup`: the process goes on meanwhile.
fn passes(process: &Process) -> io::Result<(Smaps, Option<u64>)> {
    let mut last = (Smaps::default(), None);
    for _ in 0..PASSES {
        let smaps = smaps::parse(BufReader::with_capacity(1 << 16, process.open_file("smaps")?))?;
        if smaps.mappings.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let rollup = text(process, "smaps_rollup").and_then(|text| smaps::rollup(&text));
        let sum = smaps.rss();
        last = (smaps, rollup);
        let Some(rollup) = rollup else { break };
        if sum.abs_diff(rollup) <= AGREES_BYTES.max(rollup / AGREES) {
            break;
        }
    }
    Ok(last)
}

fn text(process: &Process, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    process.open_file(name).ok()?.take(64 << 10).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Page tables and swap.
fn status(process: &Process, facts: &mut Facts) {
    let text = text(process, "status").unwrap_or_default();
    let value = |key: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
        let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        number.checked_mul(1024)
    };
    facts.page_tables = value("VmPTE:").unwrap_or(0);
    facts.swap = value("VmSwap:").unwrap_or(0);
}

fn describe(process: &Process, memory: &ProcessMemory) -> Result<Described, UnsupportedJvm> {
    let mut table = ModuleTable::default();
    table.refresh(process.pid.0).map_err(|_| UnsupportedJvm::Unreadable)?;
    let module = table.modules.iter().find(|module| is_libjvm(module));
    Described::read(memory, module.ok_or(UnsupportedJvm::Unreadable)?)
}

/// The perf data: the file that is mapped, by the target's own path, or what is mapped of it. The reason where there is none.
fn perf_data(
    process: &Process,
    memory: &impl Memory,
    mappings: &[Mapping],
    range: Option<(u64, u64)>,
) -> Result<(PerfData, &'static str), String> {
    let mapped = mappings.iter().find(|mapping| mapping.shared && mapping.name.contains("/hsperfdata_"));
    let file = mapped.and_then(|mapping| {
        let top = root::of(process.directory()).ok()?;
        let file = root::open_plain_in(&top, Path::new(&*mapping.name)).ok()?;
        is_that(&file, mapping).then_some(file)
    });
    let mut bytes = Vec::new();
    if let Some(file) = file
        && file.take(perf_data::MAX_BYTES as u64).read_to_end(&mut bytes).is_ok()
        && let Ok(data) = perf_data::parse(&bytes)
    {
        return Ok((data, "file"));
    }
    let range = mapped.map(|mapping| (mapping.start, mapping.end)).or(range);
    let Some((start, end)) = range else {
        return Err("none (-XX:-UsePerfData)".to_owned());
    };
    let len = usize::try_from(end - start).unwrap_or(usize::MAX).min(perf_data::MAX_BYTES);
    let bytes = memory.read_vec(start, len).map_err(|_| "can't be read".to_owned())?;
    let data = perf_data::parse(&bytes).map_err(|reason| reason.to_string())?;
    Ok((data, "memory"))
}

/// Whether a file is the one that is mapped: something else may lie at its path by now.
fn is_that(file: &File, mapping: &Mapping) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().is_ok_and(|metadata| metadata.ino() == mapping.inode)
}

fn apply(data: &PerfData, source: &str, jvm: &mut Jvm) {
    jvm.perf_data = source.to_owned();
    jvm.version = data.java_version().map(str::to_owned);
    jvm.heap.generations = data.generations();
    jvm.heap.old_after_full = data.old_after_full();
    jvm.collections = data.collections();
    jvm.classes = data.classes().or(jvm.classes);
    jvm.java_threads = jvm.java_threads.or(data.java_threads());
}

/// The allocator by the libraries that are mapped: one that replaces libc's comes first.
fn allocator(mappings: &[Mapping]) -> Option<String> {
    const KNOWN: [(&str, &str); 6] = [
        ("libjemalloc", "jemalloc"),
        ("libtcmalloc", "tcmalloc"),
        ("libmimalloc", "mimalloc"),
        ("ld-musl-", "musl"),
        ("libc.so.6", "glibc"),
        ("libc-2.", "glibc"),
    ];
    let is_mapped = |prefix: &str| {
        mappings.iter().any(|mapping| {
            mapping.inode != 0 && mapping.name.rsplit('/').next().is_some_and(|file| file.starts_with(prefix))
        })
    };
    let found = KNOWN.iter().find(|(prefix, _)| is_mapped(prefix));
    found.map(|(_, name)| (*name).to_owned())
}

/// The writable data of libc, and of the program itself where it has libc in it: address and bytes.
fn data_segments(memory: &impl Memory, mappings: &[Mapping]) -> Vec<(u64, Vec<u8>)> {
    let file = |mapping: &Mapping| mapping.name.rsplit('/').next().unwrap_or_default().to_owned();
    let is_libc = |mapping: &&Mapping| {
        let file = file(mapping);
        mapping.inode != 0 && (file.starts_with("libc.so.6") || file.starts_with("libc-2."))
    };
    let libc = mappings.iter().find(is_libc).or_else(|| mappings.first());
    let Some(key) = libc.map(|mapping| (mapping.device, mapping.inode)) else {
        return Vec::new();
    };
    let mut segments = Vec::new();
    let mut end = None;
    for mapping in mappings {
        let is_data = mapping.inode != 0 && (mapping.device, mapping.inode) == key;
        let follows = end == Some(mapping.start) && mapping.is_anonymous();
        if !is_data && !follows {
            continue;
        }
        end = Some(mapping.end);
        if mapping.writable && mapping.rss > 0 {
            let len = usize::try_from(mapping.len()).unwrap_or(usize::MAX).min(glibc::MAX_DATA);
            segments.extend(memory.read_vec(mapping.start, len).ok().map(|bytes| (mapping.start, bytes)));
        }
    }
    segments
}

/// Addresses at which a heap of an arena may begin: aligned, without a file, there.
fn heap_candidates(reading: &Reading, resident: &dyn Fn(u64, u64) -> u64) -> Vec<u64> {
    let mut candidates = Vec::new();
    let fits = |mapping: &&Mapping| mapping.is_anonymous() && mapping.writable && mapping.rss > 0;
    for mapping in reading.mappings.iter().filter(fits) {
        let mut at = mapping.start.next_multiple_of(ARENA_HEAP);
        while at < mapping.end && candidates.len() < MAX_HEAPS {
            // Reading a page that was never used would make one.
            if reading.claims.at(at).is_none() && resident(at, at + 4096) > 0 {
                candidates.push(at);
            }
            at += ARENA_HEAP;
        }
    }
    candidates
}

/// Claims blocks of malloc that have mappings of their own.
fn large(memory: &impl Memory, reading: &mut Reading, resident: &dyn Fn(u64, u64) -> u64) {
    let fits = |mapping: &&Mapping| {
        mapping.is_anonymous()
            && mapping.writable
            && !mapping.executable
            && mapping.rss > 0
            && reading.claims.at(mapping.start).is_none()
            && resident(mapping.start, mapping.start + 4096) > 0
    };
    let ranges: Vec<(u64, u64)> = reading
        .mappings
        .iter()
        .filter(fits)
        .take(MAX_BLOCKS)
        .map(|mapping| (mapping.start, mapping.end))
        .collect();
    let starts: Vec<u64> = ranges.iter().map(|range| range.0).collect();
    let heads = glibc::heads(memory, &starts);
    for ((start, end), head) in ranges.into_iter().zip(heads) {
        // The blocks end where somebody else begins.
        let end = reading.claims.within(start, end).next().map_or(end, |claim| claim.start);
        let (count, bytes) = glibc::large_blocks(memory, start, end, head);
        if count > 0 {
            reading.claims.add(start, start + bytes, Kind::MallocLarge, false);
            reading.facts.malloc.large_count += count;
            reading.facts.malloc.large_bytes += bytes;
        }
    }
}
