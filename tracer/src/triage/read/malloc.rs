//! What malloc says: finding its structures, and claiming what they own.

use super::super::glibc::{self, Glibc};
use super::super::owners::Kind;
use super::super::reading::{Malloc, Reading};
use super::super::residence::Residence;
use super::super::shape::ARENA_HEAP;
use super::super::smaps::Mapping;
use crate::unwind::memory::{Memory, ProcessMemory};

/// Mappings whose first words are read to find blocks of malloc.
const MAX_BLOCKS: usize = 1 << 16;
/// Addresses at which an arena's heap may begin.
const MAX_HEAPS: usize = 1 << 16;

/// Reads of the arenas.
const TRIES: usize = 5;

/// Reads the arenas, and claims their heaps and the large blocks. `glibc` is what was found at an earlier look.
pub(super) fn malloc(
    memory: Option<&ProcessMemory>,
    residence: Option<&Residence>,
    glibc: &mut Option<Glibc>,
    reading: &mut Reading,
) {
    reading.facts.malloc = Malloc {
        name: allocator(&reading.mappings),
        ..Malloc::default()
    };
    let Some(memory) = memory else {
        reading.facts.malloc.unknown = Some("the process's memory can't be read".to_owned());
        return;
    };
    if glibc.is_none() {
        *glibc = Glibc::find(memory, &data_segments(memory, &reading.mappings));
    }
    let Some(found) = *glibc else {
        let name = reading.facts.malloc.name.as_deref();
        let reason = match name {
            Some("glibc") | None => "no main_arena of a known glibc was found",
            Some(_) => "only glibc's structures are known",
        };
        reading.facts.malloc.unknown = Some(reason.to_owned());
        return;
    };
    let resident = |from, to| residence.map_or(0, |residence| residence.bytes(from, to));
    let candidates = heap_candidates(reading, &resident);
    // The ring may change while it is read.
    let mut read = (0..TRIES).map(|_| found.read(memory, &candidates, &resident));
    let Some(arenas) = read.find(|read| !read.arenas.is_empty()) else {
        reading.facts.malloc.unknown = Some("its arenas changed while they were read".to_owned());
        return;
    };
    for &heap in &arenas.heaps {
        reading
            .claims
            .add(heap, heap + ARENA_HEAP, Kind::MallocArenas, false);
    }
    let malloc = &mut reading.facts.malloc;
    (malloc.heaps, malloc.arenas) = (arenas.heaps.len() as u64, arenas.arenas);
    // Another allocator in front of it uses it little.
    if malloc.name.is_none() {
        malloc.name = Some("glibc".to_owned());
    }
    large(memory, reading, &resident);
}

/// The allocator by the libraries that are mapped: one that replaces libc's comes first.
fn allocator(mappings: &[Mapping]) -> Option<String> {
    const KNOWN: [(&str, &str); 7] = [
        ("libjemalloc", "jemalloc"),
        ("libtcmalloc", "tcmalloc"),
        ("libmimalloc", "mimalloc"),
        ("ld-musl-", "musl"),
        ("libc.so.6", "glibc"),
        ("libc-2.", "glibc"),
        // musl's linker is its library: Alpine's file has the linker's name, Debian's the library's.
        ("libc.so", "musl"),
    ];
    let is_mapped = |prefix: &str| {
        mappings.iter().any(|mapping| {
            mapping.inode != 0
                && mapping
                    .name
                    .rsplit('/')
                    .next()
                    .is_some_and(|file| file.starts_with(prefix))
        })
    };
    let found = KNOWN.iter().find(|(prefix, _)| is_mapped(prefix));
    found.map(|(_, name)| (*name).to_owned())
}

/// The writable data of libc, and of the program itself where it has libc in it: address and bytes.
fn data_segments(memory: &impl Memory, mappings: &[Mapping]) -> Vec<(u64, Vec<u8>)> {
    let file = |mapping: &Mapping| {
        mapping
            .name
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
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
            let len = usize::try_from(mapping.len())
                .unwrap_or(usize::MAX)
                .min(glibc::MAX_DATA);
            segments.extend(
                memory
                    .read_vec(mapping.start, len)
                    .ok()
                    .map(|bytes| (mapping.start, bytes)),
            );
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
        let end = reading
            .claims
            .within(start, end)
            .next()
            .map_or(end, |claim| claim.start);
        let (count, bytes) = glibc::large_blocks(memory, start, end, head);
        if count > 0 {
            reading
                .claims
                .add(start, start + bytes, Kind::MallocLarge, false);
            reading.facts.malloc.large_count += count;
            reading.facts.malloc.large_bytes += bytes;
        }
    }
}
