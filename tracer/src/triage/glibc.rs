//! The arenas of glibc's malloc, read from the process's memory.
//!
//! Layout of `struct malloc_state` and `heap_info` (malloc/malloc.c, malloc/arena.c): the same from 2.27 to 2.42 for what
//! is read here (seen on 2.36); up to 2.26 without `have_fastchunks` (sources); since 2.43 without fast bins (seen). No
//! version is believed: `main_arena` is found by what it must look like, its 127 bins of which each empty one points at
//! itself, and by the ring of arenas that it is in. Whatever is not like that is no arena.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::reading::Arena;
use crate::unwind::memory::{Memory, Piece};

use super::shape::ARENA_HEAP;

/// `NBINS - 1`: bins 1 to 127, each two pointers.
const BINS: usize = 127;
const FAST_BINS: usize = 10;
/// Empty bins that a `malloc_state` has at least: an arena with more than half of its size classes in use is not seen
/// in practice, and a table of pointers that is none has no empty bin at all.
const MIN_EMPTY: usize = 16;
/// `sysmalloc` raises the limit to eight for each core.
const MAX_ARENAS: usize = 4096;
/// Free blocks that are looked at, and how long.
const MAX_BLOCKS: u64 = 400_000;
const MAX_TIME: Duration = Duration::from_millis(400);
/// Data segments of libc, or of a program that is linked statically.
pub const MAX_DATA: usize = 4 << 20;
const PAGE: u64 = 4096;
/// Low bits of a block's size: in use, mapped, of another arena.
const FLAGS: u64 = 7;
const IS_MAPPED: u64 = 2;
/// Two words before each block.
const HEADER: u64 = 16;

/// Where things are in a `malloc_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    top: usize,
    /// None since 2.43, which has no fast bins.
    fast: Option<usize>,
}

impl Layout {
    const ALL: [Layout; 3] = [
        // 2.27 to 2.42.
        Layout {
            top: 16 + 8 * FAST_BINS,
            fast: Some(16),
        },
        Layout { top: 8, fast: None },
        // Up to 2.26.
        Layout {
            top: 8 + 8 * FAST_BINS,
            fast: Some(8),
        },
    ];

    /// Behind the top and the last remainder.
    const fn bins(self) -> usize {
        self.top + 16
    }

    /// Behind the bins and four words of 32 bits.
    const fn next(self) -> usize {
        self.bins() + 16 * BINS + 16
    }

    /// Behind `next`, `next_free` and `attached_threads`.
    const fn system(self) -> usize {
        self.next() + 24
    }

    const fn len(self) -> usize {
        self.system() + 16
    }
}

/// A `malloc_state`, copied.
struct State {
    address: u64,
    layout: Layout,
    bytes: Vec<u8>,
}

impl State {
    fn read(memory: &impl Memory, layout: Layout, address: u64) -> Option<State> {
        let state = State {
            address,
            layout,
            bytes: memory.read_vec(address, layout.len()).ok()?,
        };
        state.makes_sense().then_some(state)
    }

    fn word(&self, offset: usize) -> u64 {
        word(&self.bytes, offset)
    }

    /// The address that stands for the chunk before bin `index`, so that its links are the bin.
    fn bin(&self, index: usize) -> u64 {
        let offset = self.layout.bins() + 16 * index;
        self.address.wrapping_add(offset as u64).wrapping_sub(16)
    }

    fn links(&self, index: usize) -> (u64, u64) {
        let offset = self.layout.bins() + 16 * index;
        (self.word(offset), self.word(offset + 8))
    }

    fn makes_sense(&self) -> bool {
        let mut empty = 0;
        for index in 0..BINS {
            let (own, links) = (self.bin(index), self.links(index));
            let is_empty = links == (own, own);
            let is_list = [links.0, links.1]
                .iter()
                .all(|&link| link != 0 && link != own && link.is_multiple_of(8));
            if !is_empty && !is_list {
                return false;
            }
            empty += usize::from(is_empty);
        }
        let next = self.word(self.layout.next());
        empty >= MIN_EMPTY && next != 0 && next.is_multiple_of(8) && self.word(self.layout.top) != 0
    }
}

/// glibc's malloc in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glibc {
    main: u64,
    layout: Layout,
}

/// What the arenas hold, and where their heaps are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arenas {
    pub arenas: Vec<Arena>,
    /// First addresses of 64 MiB heaps.
    pub heaps: Vec<u64>,
}

impl Glibc {
    /// Looks for `main_arena` in data segments (address and bytes).
    pub fn find(memory: &impl Memory, data: &[(u64, Vec<u8>)]) -> Option<Glibc> {
        for (start, bytes) in data {
            for layout in Layout::ALL {
                let last = bytes.len().saturating_sub(layout.len());
                for offset in (0..=last).step_by(8) {
                    // The bins of a size class that is not used are most of them: look at a few before all.
                    let address = start.wrapping_add(offset as u64);
                    if !looks_like(layout, address, bytes.get(offset..).unwrap_or_default()) {
                        continue;
                    }
                    // The bins alone fit each layout, at another address: the list of arenas tells which is the right one.
                    let found = Glibc {
                        main: address,
                        layout,
                    };
                    if found.states(memory).is_some() {
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    /// All arenas: they are in a ring. None where it does not lead back.
    fn states(self, memory: &impl Memory) -> Option<Vec<State>> {
        let mut states = Vec::new();
        let mut address = self.main;
        while states.len() < MAX_ARENAS {
            let state = State::read(memory, self.layout, address)?;
            address = state.word(self.layout.next());
            states.push(state);
            if address == self.main {
                return Some(states);
            }
        }
        None
    }

    /// Reads all arenas. `heaps` are addresses, 64 MiB aligned, at which there is memory without a file; `resident` says how
    /// much of a range of whole pages is.
    pub fn read(
        self,
        memory: &impl Memory,
        heaps: &[u64],
        resident: &dyn Fn(u64, u64) -> u64,
    ) -> Arenas {
        let states = self.states(memory).unwrap_or_default();
        let seen: HashSet<u64> = states.iter().map(|state| state.address).collect();
        let known = |address: &u64| seen.contains(address);
        let heaps: Vec<u64> = heaps
            .iter()
            .copied()
            .filter(|&heap| is_heap(memory, heap, known))
            .collect();
        let mut walk = Walk {
            memory,
            resident,
            deadline: Instant::now() + MAX_TIME,
            left: MAX_BLOCKS,
        };
        let arenas = states.iter().map(|state| Arena {
            main: state.address == self.main,
            ..walk.arena(state)
        });
        Arenas {
            arenas: arenas.collect(),
            heaps,
        }
    }
}

/// Whether enough bins point at themselves for a closer look.
fn looks_like(layout: Layout, address: u64, bytes: &[u8]) -> bool {
    let own = |index: usize| {
        let offset = layout.bins() + 16 * index;
        let place = address.wrapping_add(offset as u64).wrapping_sub(16);
        word(bytes, offset) == place && word(bytes, offset + 8) == place
    };
    (BINS - 24..BINS).filter(|&index| own(index)).count() >= 12
}

/// `heap_info`: its arena, the heap before, its size, and how much of it is accessible.
fn is_heap(memory: &impl Memory, heap: u64, is_arena: impl Fn(&u64) -> bool) -> bool {
    let Ok(bytes) = memory.read_vec(heap, 32) else {
        return false;
    };
    let [arena, _, size, accessible] = [0, 8, 16, 24].map(|at| word(&bytes, at));
    is_arena(&arena) && size <= accessible && accessible <= ARENA_HEAP && size >= 32
}

/// Goes through free blocks, within a bound for all arenas.
struct Walk<'a, M> {
    memory: &'a M,
    resident: &'a dyn Fn(u64, u64) -> u64,
    deadline: Instant,
    left: u64,
}

impl<M: Memory> Walk<'_, M> {
    fn arena(&mut self, state: &State) -> Arena {
        let mut arena = Arena {
            system: state.word(state.layout.system()),
            ..Arena::default()
        };
        let top = state.word(state.layout.top);
        // Before the first block of all, the top is the bin.
        if top != state.bin(0) {
            match self.memory.read_u64(top.wrapping_add(8)) {
                Ok(size) => self.add(&mut arena, top, size & !FLAGS, 16),
                Err(_) => arena.partial = true,
            }
        }
        for index in 0..BINS {
            self.bin(&mut arena, state, index);
        }
        for index in 0..FAST_BINS {
            if let Some(fast) = state.layout.fast {
                self.fast_bin(&mut arena, state.word(fast + 8 * index));
            }
        }
        arena.free = arena.free.min(arena.system);
        arena.releasable = arena.releasable.min(arena.free);
        arena
    }

    fn bin(&mut self, arena: &mut Arena, state: &State, index: usize) {
        let own = state.bin(index);
        let (mut block, _) = state.links(index);
        let mut before = own;
        while block != own {
            let links = self
                .next()
                .then(|| self.memory.read_vec(block, 32).ok())
                .flatten();
            // A block that does not point back has just gone, or is none.
            let Some(links) = links.filter(|links| word(links, 24) == before) else {
                arena.partial = true;
                return;
            };
            self.add(arena, block, word(&links, 8) & !FLAGS, 48);
            before = block;
            block = word(&links, 16);
        }
    }

    /// Since 2.32 a link is mixed with the address that it is at (`PROTECT_PTR`), so that only multiples of 16 come out.
    fn fast_bin(&mut self, arena: &mut Arena, first: u64) {
        let mut block = first;
        while block != 0 {
            let read = (self.next() && block.is_multiple_of(16))
                .then(|| self.memory.read_vec(block, 32).ok());
            let Some(bytes) = read
                .flatten()
                .filter(|bytes| word(bytes, 8) & !FLAGS <= 256)
            else {
                arena.partial = true;
                return;
            };
            self.add(arena, block, word(&bytes, 8) & !FLAGS, 32);
            let raw = word(&bytes, 16);
            let mixed = raw ^ (block.wrapping_add(16) >> 12);
            block = if mixed.is_multiple_of(16) { mixed } else { raw };
        }
    }

    fn next(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0 && (!self.left.is_multiple_of(1024) || Instant::now() < self.deadline)
    }

    /// One free block, whose first `used` bytes hold its links.
    fn add(&self, arena: &mut Arena, block: u64, size: u64, used: u64) {
        if size > arena.system {
            arena.partial = true;
            return;
        }
        arena.free = arena.free.saturating_add(size);
        arena.free_blocks += 1;
        let from = block.saturating_add(used).next_multiple_of(PAGE);
        let to = block.saturating_add(size) & !(PAGE - 1);
        if from < to {
            arena.releasable = arena.releasable.saturating_add((self.resident)(from, to));
        }
    }
}

/// The blocks that begin a mapping, one behind the other: each one's first page says that it is mapped, and how long. How
/// many there are, and the bytes that they cover.
pub fn large_blocks(
    memory: &impl Memory,
    start: u64,
    end: u64,
    first: Option<[u64; 2]>,
) -> (u64, u64) {
    let (mut count, mut at, mut head) = (0, start, first);
    while let Some([before, size]) = head {
        // Since 2.43 the size is without the header, as that of other blocks is.
        let length = (size & !FLAGS).checked_next_multiple_of(PAGE).unwrap_or(0);
        let is_whole = length - (size & !FLAGS).min(length) <= HEADER;
        let fits = before < PAGE && size & FLAGS == IS_MAPPED && is_whole && length > 0;
        if !fits || length > end - at || count >= 1 << 16 {
            break;
        }
        count += 1;
        at += length;
        head = (at < end).then(|| head_at(memory, at)).flatten();
    }
    (count, at - start)
}

/// The first two words of memory.
fn head_at(memory: &impl Memory, address: u64) -> Option<[u64; 2]> {
    let bytes = memory.read_vec(address, 16).ok()?;
    Some([word(&bytes, 0), word(&bytes, 8)])
}

/// The first two words at each of `addresses`.
pub fn heads(memory: &impl Memory, addresses: &[u64]) -> Vec<Option<[u64; 2]>> {
    let pieces: Vec<Piece> = addresses
        .iter()
        .map(|&address| Piece { address, len: 16 })
        .collect();
    let mut bytes = vec![0; 16 * pieces.len()];
    let read = memory.read_many(&pieces, &mut bytes);
    let head = |(index, read): (usize, bool)| {
        read.then(|| [word(&bytes, 16 * index), word(&bytes, 16 * index + 8)])
    };
    read.into_iter().enumerate().map(head).collect()
}

/// The word at `offset`, 0 beyond the end.
fn word(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests;
