//! Resident memory by owner: a pure sum over the mappings of one [`Reading`].
//!
//! Each mapping's resident bytes go to exactly one owner, or are divided between the owners of its pieces without a
//! remainder. So the owners add up to the mappings' sum, whatever they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claims::Claim;
use super::reading::Reading;
use super::shape::{Shape, Shapes};
use super::smaps::Mapping;

/// Whose memory it is. In the order of the report where sizes are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    JavaHeap,
    /// Pages of the heap that ZGC has mapped under another address as well: RSS counts them again.
    JavaHeapViews,
    Metaspace,
    ClassSpace,
    CodeCache,
    JavaStacks,
    /// Card table and other tables of the collector.
    CollectorTables,
    /// The class data archive.
    Cds,
    /// What the JVM shares with its tools (perf data).
    JvmData,
    /// The heap that grows by `brk`.
    MallocMain,
    /// glibc's 64 MiB heaps.
    MallocArenas,
    /// Blocks of malloc with a mapping of their own.
    MallocLarge,
    /// Of jemalloc, tcmalloc, mimalloc …
    OtherAllocator,
    OtherStacks,
    /// Files with code: the program and its libraries.
    Libraries,
    /// Zero-initialised data behind them.
    LibraryData,
    MappedFiles,
    SharedMemory,
    /// Executable memory outside of the code cache.
    OtherCode,
    /// `[vdso]`, `[vvar]` and the like.
    Kernel,
    /// The remainder: private memory without a file that nothing is known of.
    Anonymous,
}

impl Kind {
    /// As the report calls it.
    pub fn label(self) -> &'static str {
        match self {
            Kind::JavaHeap => "Java heap",
            Kind::JavaHeapViews => "Java heap, mapped again by ZGC",
            Kind::Metaspace => "metaspace",
            Kind::ClassSpace => "compressed class space",
            Kind::CodeCache => "code cache",
            Kind::JavaStacks => "stacks of Java threads",
            Kind::CollectorTables => "collector's tables",
            Kind::Cds => "class data archive",
            Kind::JvmData => "perf data",
            Kind::MallocMain => "malloc: main heap",
            Kind::MallocArenas => "malloc: arenas",
            Kind::MallocLarge => "malloc: large blocks",
            Kind::OtherAllocator => "allocator that is not glibc's",
            Kind::OtherStacks => "stacks of other threads",
            Kind::Libraries => "program and libraries",
            Kind::LibraryData => "data of libraries",
            Kind::MappedFiles => "mapped files",
            Kind::SharedMemory => "shared memory",
            Kind::OtherCode => "other generated code",
            Kind::Kernel => "kernel's pages",
            Kind::Anonymous => "anonymous, owner unknown",
        }
    }

    /// Memory that native code took, from an allocator or by itself.
    pub fn is_native(self) -> bool {
        matches!(
            self,
            Kind::MallocMain
                | Kind::MallocArenas
                | Kind::MallocLarge
                | Kind::OtherAllocator
                | Kind::Anonymous
        )
    }
}

/// What one owner has, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub kind: Kind,
    pub resident: u64,
    /// Of `resident`, what was concluded from the shape of mappings and not told by anyone.
    pub guessed: u64,
    /// Mapped with access.
    pub committed: u64,
    /// Mapped at all.
    pub reserved: u64,
    pub swap: u64,
    /// Stacks, heaps, blocks, files' mappings: pieces of this kind.
    pub count: u64,
}

/// A piece of a mapping that has one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub start: u64,
    pub end: u64,
    pub kind: Kind,
    pub guess: bool,
    /// First address of the claim, or of the mapping: pieces of one claim are counted once.
    pub origin: u64,
}

/// The owners that have anything, the largest first.
pub fn owners(reading: &Reading) -> Vec<Owner> {
    let mut sums = Sums::default();
    let mut shapes = Shapes::new(reading);
    let mut views = Views::default();
    for mapping in &reading.mappings {
        let shape = shapes.next(mapping);
        let pieces = pieces(
            mapping,
            shape,
            reading.claims.within(mapping.start, mapping.end),
        );
        let residents = divide(mapping, &pieces, reading);
        for (piece, resident) in pieces.iter().zip(residents) {
            sums.add(mapping, piece, resident);
        }
        if shape.is_heap_file {
            views.add(mapping);
        }
    }
    sums.move_views(views.counted_again());
    let mut owners: Vec<Owner> = sums.0.into_values().map(|sum| sum.owner).collect();
    owners.retain(|owner| owner.reserved > 0);
    owners.sort_by_key(|owner| (std::cmp::Reverse(owner.resident), owner.kind));
    owners
}

/// Those pieces of `reading`'s mappings whose resident bytes the page map has to tell.
pub fn shared_pieces(reading: &Reading) -> Vec<(u64, u64)> {
    let mut shapes = Shapes::new(reading);
    let mut wanted = Vec::new();
    for mapping in &reading.mappings {
        let shape = shapes.next(mapping);
        if mapping.rss == 0 {
            continue;
        }
        let pieces = pieces(
            mapping,
            shape,
            reading.claims.within(mapping.start, mapping.end),
        );
        let is_shared = pieces.iter().any(|piece| piece.kind != pieces[0].kind);
        if is_shared {
            wanted.extend(pieces.iter().map(|piece| (piece.start, piece.end)));
        }
    }
    wanted
}

/// What is claimed of a mapping goes to the claims, the rest to what the mapping looks like.
fn pieces<'a>(
    mapping: &Mapping,
    shape: Shape,
    claims: impl Iterator<Item = &'a Claim>,
) -> Vec<Piece> {
    let rest = |start, end| Piece {
        start,
        end,
        kind: shape.kind,
        guess: shape.guess,
        origin: mapping.start,
    };
    let mut pieces = Vec::new();
    let mut from = mapping.start;
    for claim in claims {
        let (start, end) = (claim.start.max(from), claim.end.min(mapping.end));
        if from < start {
            pieces.push(rest(from, start));
        }
        pieces.push(Piece {
            start,
            end,
            kind: claim.kind,
            guess: claim.guess,
            origin: claim.start,
        });
        from = end;
    }
    if from < mapping.end {
        pieces.push(rest(from, mapping.end));
    }
    pieces
}

/// The mapping's resident bytes by piece; they add up to those of the mapping.
fn divide(mapping: &Mapping, pieces: &[Piece], reading: &Reading) -> Vec<u64> {
    let mut left = mapping.rss;
    let mut parts: Vec<u64> = pieces
        .iter()
        .map(|piece| {
            let told = reading.pieces.get(&(piece.start, piece.end)).copied();
            let part = told
                .unwrap_or_else(|| share(mapping.rss, piece, mapping))
                .min(left);
            left -= part;
            part
        })
        .collect();
    // Pages came or went between the two looks: the longest piece takes what nobody has.
    let longest = (0..pieces.len()).max_by_key(|&at| pieces[at].end - pieces[at].start);
    if let Some(longest) = longest {
        parts[longest] += left;
    }
    parts
}

/// In proportion to its length.
fn share(bytes: u64, piece: &Piece, mapping: &Mapping) -> u64 {
    let length = u128::from(piece.end - piece.start);
    let part = u128::from(bytes) * length / u128::from(mapping.len().max(1));
    u64::try_from(part).unwrap_or(bytes)
}

#[derive(Default)]
struct Sums(BTreeMap<Kind, Sum>);

struct Sum {
    owner: Owner,
    last: Option<u64>,
}

impl Sums {
    fn of(&mut self, kind: Kind) -> &mut Sum {
        self.0.entry(kind).or_insert(Sum {
            owner: Owner {
                kind,
                resident: 0,
                guessed: 0,
                committed: 0,
                reserved: 0,
                swap: 0,
                count: 0,
            },
            last: None,
        })
    }

    fn add(&mut self, mapping: &Mapping, piece: &Piece, resident: u64) {
        let sum = self.of(piece.kind);
        let length = piece.end - piece.start;
        let owner = &mut sum.owner;
        owner.resident += resident;
        owner.reserved = owner.reserved.saturating_add(length);
        owner.swap += share(mapping.swap, piece, mapping);
        if piece.guess {
            owner.guessed += resident;
        }
        if mapping.is_accessible() {
            owner.committed = owner.committed.saturating_add(length);
        }
        // Guards and what is only reserved are no pieces of their own.
        if mapping.is_accessible() && sum.last != Some(piece.origin) {
            owner.count += 1;
            sum.last = Some(piece.origin);
        }
    }

    /// What the heap's views count again is named apart.
    fn move_views(&mut self, (resident, reserved): (u64, u64)) {
        if reserved == 0 {
            return;
        }
        let heap = &mut self.of(Kind::JavaHeap).owner;
        let resident = resident.min(heap.resident);
        heap.resident -= resident;
        heap.reserved -= reserved.min(heap.reserved);
        heap.committed -= reserved.min(heap.committed);
        let views = &mut self.of(Kind::JavaHeapViews).owner;
        views.resident += resident;
        views.reserved += reserved;
        views.committed += reserved;
        views.count += 1;
    }
}

/// Device and inode.
type FileKey = ((u32, u32), u64);

/// Mappings of the files that are the Java heap. Up to JDK 20, and without generations up to 23, ZGC maps its heap three
/// times; a page that was used through two of them is in RSS twice. Its share in Pss is a half each time.
#[derive(Default)]
struct Views {
    /// By file: what is mapped of it so far, ascending.
    files: BTreeMap<FileKey, Vec<(u64, u64)>>,
    rss: u64,
    pss: u64,
    /// Mapped although mapped before.
    again: u64,
}

impl Views {
    fn add(&mut self, mapping: &Mapping) {
        self.rss += mapping.rss;
        self.pss += mapping.pss;
        let (from, to) = (mapping.offset, mapping.offset.saturating_add(mapping.len()));
        let extents = self
            .files
            .entry((mapping.device, mapping.inode))
            .or_default();
        let overlap = |&(start, end): &(u64, u64)| end.min(to).saturating_sub(start.max(from));
        let covered: u64 = extents.iter().map(overlap).sum();
        self.again += covered.min(mapping.len());
        if covered == 0 {
            extents.push((from, to));
        }
    }

    /// Resident and mapped bytes that are counted more than once.
    fn counted_again(&self) -> (u64, u64) {
        match self.again {
            0 => (0, 0),
            again => (self.rss.saturating_sub(self.pss) & !1023, again),
        }
    }
}

#[cfg(test)]
mod tests;
