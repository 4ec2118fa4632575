//! What a mapping is when nobody has claimed it: by its name, or by how it looks beside its neighbours.

use std::collections::HashSet;

use super::owners::Kind;
use super::reading::Reading;
use super::smaps::Mapping;

/// `HEAP_MAX_SIZE` of glibc's `arena.c` on 64-bit machines: alignment and largest length of an arena's heap.
pub const ARENA_HEAP: u64 = 64 << 20;
/// A guard below a stack has up to this: one page of libc, or the four zones of a Java thread with 64 KiB pages.
const MAX_GUARD: u64 = 256 << 10;
/// A stack: libc's default is 8 MiB, and few ask for more.
const STACKS: std::ops::RangeInclusive<u64> = (16 << 10)..=(64 << 20);
/// Zero-initialised data behind a library: more than this is something else that lies there.
const MAX_DATA: u64 = 16 << 20;
/// The heap's bytes for one byte of a collector's table: card and offset tables, mark bitmaps.
const TABLES: [u64; 4] = [512, 128, 64, 32];
const MIN_TABLE: u64 = 64 << 10;
/// ZGC's mark stacks: reserved as a whole (a tebibyte in JDK 11, `ZMarkStackSpaceLimit` of 8 GiB since) and used in steps
/// (`ZMarkStackSpaceExpandSize`).
const MARK_STACKS: [u64; 2] = [8 << 30, 1 << 40];
const MARK_STACK_STEP: u64 = 32 << 20;

/// The owner by looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub kind: Kind,
    pub guess: bool,
    /// The file that is the Java heap.
    pub is_heap_file: bool,
}

fn sure(kind: Kind) -> Shape {
    Shape {
        kind,
        guess: false,
        is_heap_file: false,
    }
}

fn guess(kind: Kind) -> Shape {
    Shape {
        guess: true,
        ..sure(kind)
    }
}

/// Goes through a reading's mappings in their order.
pub struct Shapes<'a> {
    /// Files that are executable somewhere.
    code: HashSet<((u32, u32), u64)>,
    heap: Option<u64>,
    is_java: bool,
    /// First addresses of ZGC's mark stacks.
    mark_stacks: HashSet<u64>,
    /// Arenas may be guessed where they could not be read.
    guess_arenas: bool,
    other_allocator: bool,
    before: Option<&'a Mapping>,
}

impl<'a> Shapes<'a> {
    pub fn new(reading: &Reading) -> Self {
        let executable = reading.mappings.iter().filter(|mapping| mapping.executable);
        let malloc = &reading.facts.malloc;
        let is_glibc = malloc.name.as_deref() == Some("glibc");
        Shapes {
            code: executable
                .filter(|mapping| mapping.inode != 0)
                .map(|mapping| (mapping.device, mapping.inode))
                .collect(),
            heap: reading.facts.jvm.as_ref().and_then(|jvm| jvm.heap.reserved),
            is_java: reading.facts.jvm.is_some(),
            mark_stacks: mark_stacks(reading),
            guess_arenas: is_glibc && malloc.arenas.is_empty(),
            other_allocator: malloc.name.is_some() && !is_glibc,
            before: None,
        }
    }

    /// What `mapping` looks like, behind those that were asked about before.
    pub fn next(&mut self, mapping: &'a Mapping) -> Shape {
        let shape = if mapping.inode != 0 || mapping.name.starts_with('/') {
            self.file(mapping)
        } else if mapping.name.is_empty() {
            self.anonymous(mapping)
        } else {
            self.named(&mapping.name)
        };
        self.before = Some(mapping);
        shape
    }

    fn file(&self, mapping: &Mapping) -> Shape {
        let name: &str = &mapping.name;
        let file = name.rsplit('/').next().unwrap_or(name);
        // `ZBackingFile` and `ZPhysicalMemoryBacking` name the heap's file so, from 11 to 25.
        if self.is_java && mapping.shared && is_heap(name) {
            return Shape {
                is_heap_file: true,
                ..sure(Kind::JavaHeap)
            };
        }
        if name.contains("/hsperfdata_") {
            return sure(Kind::JvmData);
        }
        if self.is_java && file.ends_with(".jsa") {
            return sure(Kind::Cds);
        }
        if self.code.contains(&(mapping.device, mapping.inode)) || is_library(file) {
            return sure(Kind::Libraries);
        }
        let shared = [
            "/memfd:",
            "/SYSV",
            "/dev/shm/",
            "/dev/zero",
            "/anon_hugepage",
        ];
        if shared.iter().any(|prefix| name.starts_with(prefix)) {
            return sure(Kind::SharedMemory);
        }
        sure(Kind::MappedFiles)
    }

    /// Names in brackets are the kernel's, or were given by the program (`PR_SET_VMA_ANON_NAME`).
    fn named(&self, name: &str) -> Shape {
        match name {
            "[heap]" => sure(Kind::MallocMain),
            "[stack]" => sure(Kind::OtherStacks),
            _ if name.starts_with("[anon_shmem:") => sure(Kind::SharedMemory),
            _ if name.starts_with("[anon:") => self.anonymous_name(name),
            _ => sure(Kind::Kernel),
        }
    }

    /// glibc 2.39 and later names its mappings when `glibc.mem.decorate_maps` is set.
    fn anonymous_name(&self, name: &str) -> Shape {
        let kinds = [
            ("glibc: malloc arena", Kind::MallocArenas),
            ("glibc: malloc", Kind::MallocLarge),
            ("glibc: pthread stack", Kind::OtherStacks),
            ("jemalloc", Kind::OtherAllocator),
            ("mimalloc", Kind::OtherAllocator),
            ("scudo", Kind::OtherAllocator),
        ];
        let known = kinds.iter().find(|(text, _)| name.contains(text));
        known.map_or(guess(Kind::Anonymous), |&(_, kind)| guess(kind))
    }

    fn anonymous(&self, mapping: &Mapping) -> Shape {
        if mapping.shared {
            return sure(Kind::SharedMemory);
        }
        if !mapping.is_accessible() {
            return sure(Kind::Anonymous);
        }
        if mapping.executable {
            return guess(Kind::OtherCode);
        }
        if self.is_table(mapping.len()) || self.mark_stacks.contains(&mapping.start) {
            return guess(Kind::CollectorTables);
        }
        if self.guess_arenas
            && mapping.start.is_multiple_of(ARENA_HEAP)
            && mapping.len() <= ARENA_HEAP
        {
            return guess(Kind::MallocArenas);
        }
        match self.before.filter(|before| before.end == mapping.start) {
            Some(before) if is_guard(before) && STACKS.contains(&mapping.len()) => {
                guess(Kind::OtherStacks)
            }
            Some(before) if self.has_code(before) && mapping.len() <= MAX_DATA => {
                guess(Kind::LibraryData)
            }
            _ if self.other_allocator => guess(Kind::OtherAllocator),
            _ => sure(Kind::Anonymous),
        }
    }

    fn is_table(&self, length: u64) -> bool {
        let of_heap = |heap: u64| TABLES.iter().any(|bytes| heap / bytes == length);
        length >= MIN_TABLE && self.heap.is_some_and(of_heap)
    }

    fn has_code(&self, mapping: &Mapping) -> bool {
        mapping.inode != 0 && self.code.contains(&(mapping.device, mapping.inode))
    }
}

/// Used steps, and behind them what is reserved.
fn mark_stacks(reading: &Reading) -> HashSet<u64> {
    let collector = reading
        .facts
        .jvm
        .as_ref()
        .and_then(|jvm| jvm.collector.as_deref());
    let pairs = reading
        .mappings
        .windows(2)
        .filter(|_| collector == Some("Z"));
    let found = pairs.filter(|pair| {
        let (used, rest) = (&pair[0], &pair[1]);
        let adjacent = used.end == rest.start && used.is_anonymous() && rest.is_anonymous();
        let length = used.len().saturating_add(rest.len());
        adjacent
            && used.writable
            && !rest.is_accessible()
            && MARK_STACKS.contains(&length)
            && used.len().is_multiple_of(MARK_STACK_STEP)
    });
    found.map(|pair| pair[0].start).collect()
}

fn is_heap(name: &str) -> bool {
    name.starts_with("/memfd:java_heap") || name.ends_with("/java_heap")
}

/// `libz.so.1.2.13`, `libjvm.so`: also where no mapping of it is executable any more.
fn is_library(file: &str) -> bool {
    file.ends_with(".so") || file.contains(".so.")
}

fn is_guard(mapping: &Mapping) -> bool {
    mapping.is_anonymous() && !mapping.is_accessible() && mapping.len() <= MAX_GUARD
}
