use super::*;
use crate::unwind::memory::RecordedMemory;

/// A data segment with a main arena at 0x100, a free block of 0x1800 bytes at 0x1000, one of 0x20 in a fast bin, and the
/// top, 0x1000 bytes at 0x3000.
const IMAGE: &[u8] = include_bytes!("../../../../fuzz/seeds/glibc/one-arena");
const BASE: u64 = 0x1_0000;

fn memory(image: &[u8]) -> RecordedMemory {
    let mut memory = RecordedMemory::default();
    memory.put(BASE, image);
    memory
}

fn put(image: &mut [u8], at: usize, value: u64) {
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn all(from: u64, to: u64) -> u64 {
    to - from
}

/// The arena is found by its bins; what it keeps is the sum of its free blocks, of which whole pages can be given back.
#[test]
fn free_memory() {
    let memory = memory(IMAGE);
    let found = Glibc::find(&memory, &[(BASE, IMAGE.to_vec())]).unwrap();
    assert_eq!(found.main, BASE + 0x100);
    let Arenas { arenas, heaps } = found.read(&memory, &[], &all);
    let expected = Arena {
        main: true,
        system: 0x21000,
        free: 0x1800 + 0x20 + 0x1000,
        // The second page of the block is cut off, and the first has its links; the top's first page has its size.
        releasable: 0,
        free_blocks: 3,
        partial: false,
    };
    assert_eq!((arenas, heaps.len()), (vec![expected], 0));
}

/// Without fast bins (2.43) the same bins belong to an arena that begins elsewhere: its own address in the ring tells.
#[test]
fn without_fast_bins() {
    let (old, new) = (Layout::ALL[0], Layout::ALL[1]);
    let mut image = IMAGE.to_vec();
    let begin = 0x100 + old.bins() - new.bins();
    put(&mut image, begin + new.next(), BASE + begin as u64);
    let memory = memory(&image);
    let found = Glibc::find(&memory, &[(BASE, image.clone())]).unwrap();
    assert_eq!((found.main, found.layout), (BASE + begin as u64, new));
    let arena = &found.read(&memory, &[], &all).arenas[0];
    assert_eq!((arena.free, arena.partial), (0x1800 + 0x1000, false));
}

/// Large free blocks give back their whole pages, as far as they are resident.
#[test]
fn whole_pages() {
    let mut image = IMAGE.to_vec();
    put(&mut image, 0x1008, 0x8000 | 1);
    let memory = memory(&image);
    let found = Glibc::find(&memory, &[(BASE, image.clone())]).unwrap();
    let half = |from: u64, to: u64| (to - from) / 2;
    assert_eq!(found.read(&memory, &[], &all).arenas[0].releasable, 0x7000);
    assert_eq!(found.read(&memory, &[], &half).arenas[0].releasable, 0x3800);
}

/// A list that leads in a circle, out of memory, or to a block that does not point back ends, and is said to be partial.
#[test]
fn broken_lists() {
    for (at, value) in [
        (0x1010, BASE + 0x1000),
        (0x1010, 0xdead_beef_0000),
        (0x1018, 0x1234),
        (0x1008, !7),
        (0x2910, 0x33),
    ] {
        let mut image = IMAGE.to_vec();
        put(&mut image, at, value);
        let memory = memory(&image);
        let found = Glibc::find(&memory, &[(BASE, image.clone())]).unwrap();
        let arena = &found.read(&memory, &[], &all).arenas[0];
        assert!(arena.partial, "{at:#x} {value:#x}: {arena:?}");
        assert!(arena.free <= arena.system);
    }
}

/// Heaps are those whose arena is known; anything else that is 64 MiB aligned is not one.
#[test]
fn heaps() {
    let mut memory = memory(IMAGE);
    let info = |arena: u64, size: u64, accessible: u64| {
        [arena, 0, size, accessible].map(u64::to_le_bytes).concat()
    };
    let [good, other, large] = [1, 2, 3].map(|index| index * ARENA_HEAP);
    memory.put(good, &info(BASE + 0x100, 0x21000, 0x21000));
    memory.put(other, &info(0x4444, 0x21000, 0x21000));
    memory.put(large, &info(BASE + 0x100, 0x21000, 2 * ARENA_HEAP));
    let found = Glibc::find(&memory, &[(BASE, IMAGE.to_vec())]).unwrap();
    let read = found.read(&memory, &[good, other, large, 4 * ARENA_HEAP], &all);
    assert_eq!(read.heaps, [good]);
}

/// Blocks with mappings of their own follow each other; the first that is none ends them.
#[test]
fn mapped_blocks() {
    let mut memory = RecordedMemory::default();
    let start = 0x70_0000;
    memory.put(start, &[0; 0x6000]);
    let mut block =
        |at: u64, size: u64| memory.put(start + at, &[[0; 8], size.to_le_bytes()].concat());
    block(0, 0x2000 | 2);
    block(0x2000, 0x3000 | 2);
    block(0x5000, 0x2000 | 2);
    let first = heads(&memory, &[start, 0x10])[0];
    // The third is longer than the mapping.
    assert_eq!(
        large_blocks(&memory, start, start + 0x6000, first),
        (2, 0x5000)
    );
    // As since glibc 2.43.
    assert_eq!(
        large_blocks(&memory, start, start + 0x1000, Some([0, 0xff0 | 2])),
        (1, 0x1000)
    );
    assert_eq!(
        large_blocks(&memory, start, start + 0x1000, Some([0, 0xfe0 | 2])),
        (0, 0)
    );
    assert_eq!(
        large_blocks(&memory, start, start + 0x1000, Some([0, !5])),
        (0, 0)
    );
    assert_eq!(large_blocks(&memory, start, start + 0x6000, None), (0, 0));
    assert_eq!(
        large_blocks(&memory, start, start + 0x6000, Some([0, 0x2001])),
        (0, 0)
    );
    assert_eq!(heads(&memory, &[0x10]), [None]);
}

/// Ordinary data holds no arena.
#[test]
fn no_arena() {
    let data: Vec<u8> = (0..=255).cycle().take(0x4000).collect();
    let memory = memory(&data);
    assert_eq!(Glibc::find(&memory, &[(BASE, data)]), None);
    assert_eq!(
        Glibc::find(&memory, &[(BASE, vec![0; 16]), (0, Vec::new())]),
        None
    );
}
