//! What triage reads: `smaps`, cgroup files, perf data, malloc's structures.

use crate::triage::cgroup::{self, Files};
use crate::triage::glibc::{self, Glibc};
use crate::triage::owners::{Kind, shared_pieces};
use crate::triage::perf_data;
use crate::triage::reading::{Jvm, Reading, Summary};
use crate::triage::smaps;
use crate::unwind::memory::{RecordedMemory, Recorder};

use super::input::Input;

/// Where fuzzed memory begins.
const BASE: u64 = 0x1_0000;
const KINDS: [Kind; 4] = [
    Kind::JavaHeap,
    Kind::Metaspace,
    Kind::MallocArenas,
    Kind::Anonymous,
];

/// Reads `data` as `smaps`, claims some of it, and adds the owners up.
///
/// Input: number of claims, whether there is a JVM; then the text. The claims are at addresses of the text.
///
/// # Panics
/// Mappings overlap, or the owners don't add up.
pub fn smaps(data: &[u8]) {
    let mut input = Input::new(data);
    let (claims, is_java) = (input.u8() % 32, input.u8() % 2 == 1);
    let Ok(found) = smaps::parse(input.rest()) else {
        return;
    };
    assert!(
        found
            .mappings
            .windows(2)
            .all(|pair| pair[0].end <= pair[1].start)
    );
    let total = found.rss();
    let mut reading = Reading {
        mappings: found.mappings,
        ..Reading::default()
    };
    reading.facts.jvm = is_java.then(Jvm::default);
    for claim in 0..usize::from(claims) {
        let Some(mapping) = reading.mappings.get(claim * 3) else {
            break;
        };
        let middle = mapping.start / 2 + mapping.end / 2;
        reading.claims.add(
            middle,
            mapping.end.saturating_add(0x3000),
            KINDS[claim % KINDS.len()],
            claim % 2 == 0,
        );
    }
    // Saturated sums are no sums.
    if total < u64::MAX / 4 {
        for (at, piece) in shared_pieces(&reading).into_iter().enumerate() {
            reading
                .pieces
                .insert(piece, if at % 2 == 0 { total } else { 0 });
        }
        assert_eq!(Summary::of(&reading).rss, total);
    }
}

/// Reads `data` as the files of a cgroup.
///
/// Input: the version; then texts, each but the last with a zero behind it, which are also read as lists of mounts.
///
/// # Panics
/// A limit is none, or a number is nonsense.
pub fn cgroup(data: &[u8]) {
    let mut input = Input::new(data);
    let version = if input.u8().is_multiple_of(2) { 2 } else { 1 };
    let text = String::from_utf8_lossy(input.rest());
    let names = cgroup::names(version);
    let files: Files = names
        .iter()
        .copied()
        .zip(text.split('\0').map(str::to_owned))
        .collect();
    if let Some(found) = cgroup::judge(version, &files) {
        assert!(found.limit.is_none_or(|limit| limit < 1 << 63));
        assert!(found.pressure.is_none_or(|share| share >= 0.0));
    }
    for mount in cgroup::mounts_of(&text, version) {
        let _ = cgroup::path_of(&text, version).map(|path| path.strip_prefix(&mount.root));
    }
}

/// Reads `data` as perf data.
///
/// # Panics
/// More is read than there is, or a text can't be printed.
pub fn perf_data(data: &[u8]) {
    let Ok(found) = perf_data::parse(data) else {
        return;
    };
    assert!(found.numbers.len() + found.texts.len() <= data.len() / 20);
    assert!(
        found
            .texts
            .values()
            .all(|text| !text.chars().any(char::is_control))
    );
    let _ = (
        found.collections(),
        found.generations(),
        found.old_after_full(),
        found.classes(),
    );
}

/// Looks for arenas of glibc in memory that is `data`.
///
/// # Panics
/// More is free than was taken, or the walk does not end in bounds.
pub fn glibc(data: &[u8]) {
    let mut memory = RecordedMemory::default();
    memory.put(BASE, data);
    let recorder = Recorder::new(&memory);
    let _ = glibc::large_blocks(
        &recorder,
        BASE,
        BASE + data.len() as u64,
        glibc::heads(&recorder, &[BASE])[0],
    );
    let Some(found) = Glibc::find(&recorder, &[(BASE, data.to_vec())]) else {
        return;
    };
    let read = found.read(&recorder, &[BASE, BASE + 0x1000], &|from, to| to - from);
    for arena in read.arenas {
        assert!(
            arena.free <= arena.system && arena.releasable <= arena.free,
            "{arena:?}"
        );
    }
}
