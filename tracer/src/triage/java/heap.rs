//! The Java heap and its collector's tables.

use super::{Flags, Places, flags};
use crate::unwind::memory::Memory;

/// The reserved range; None where the collector does not keep one (ZGC, which is known by its file).
pub(super) fn reserved<M: Memory>(places: &Places<'_, M>) -> Option<(u64, u64)> {
    let heap = places
        .value("Universe", "_collectedHeap")
        .filter(|&heap| heap != 0)?;
    // `MemRegion`: the first word, and how many words there are.
    let region = places.part(heap, "CollectedHeap", "_reserved")?;
    let start = places
        .memory
        .read_u64(region)
        .ok()
        .filter(|&start| start != 0)?;
    let words = places.memory.read_u64(region.checked_add(8)?).ok()?;
    Some((start, start.checked_add(words.checked_mul(8)?)?))
}

/// The card table, where the collector has one.
pub(super) fn card_table<M: Memory>(places: &Places<'_, M>) -> Option<(u64, u64)> {
    reserved(places)?;
    let barriers = places
        .value("BarrierSet", "_barrier_set")
        .filter(|&set| set != 0)?;
    let table = places.pointer(barriers, "CardTableBarrierSet", "_card_table")?;
    let start = places.pointer(table, "CardTable", "_byte_map")?;
    let size = places.word(table, "CardTable", "_byte_map_size")?;
    // Nonsense where the set is one without cards: a card is for 512 bytes of heap (or 128 to 1024, JDK 18).
    (0x1000..=1 << 40)
        .contains(&size)
        .then_some((start, start.checked_add(size)?))
}

/// Bytes in use now, with what is not reachable any more.
pub(super) fn used<M: Memory>(places: &Places<'_, M>, flags: &Flags) -> Option<u64> {
    let heap = places
        .value("Universe", "_collectedHeap")
        .filter(|&heap| heap != 0)?;
    match flags::collector(flags)? {
        "G1" => places.word(heap, "G1CollectedHeap", "_summary_bytes_used"),
        "Serial" => serial(places, heap),
        "Parallel" => parallel(places),
        "Z" => z(places, heap, flags.get("ZGenerational").copied()),
        "Shenandoah" => places.word(heap, "ShenandoahHeap", "_used"),
        _ => None,
    }
}

fn serial<M: Memory>(places: &Places<'_, M>, heap: u64) -> Option<u64> {
    // `SerialHeap` has its generations itself since 22.
    let class = ["SerialHeap", "GenCollectedHeap"]
        .into_iter()
        .find(|class| places.offset(class, "_young_gen").is_some())?;
    let young = places.pointer(heap, class, "_young_gen")?;
    let old = places.pointer(heap, class, "_old_gen")?;
    let spaces = ["_eden_space", "_from_space", "_to_space"];
    let mut used: u64 = 0;
    for space in spaces {
        used = used.checked_add(serial_space(
            places,
            places.pointer(young, "DefNewGeneration", space)?,
        )?)?;
    }
    used.checked_add(serial_space(
        places,
        places.pointer(old, "TenuredGeneration", "_the_space")?,
    )?)
}

fn parallel<M: Memory>(places: &Places<'_, M>) -> Option<u64> {
    let young = places.value("ParallelScavengeHeap", "_young_gen")?;
    let old = places.value("ParallelScavengeHeap", "_old_gen")?;
    let mut used = parallel_space(places, places.pointer(old, "PSOldGen", "_object_space")?)?;
    for space in ["_eden_space", "_from_space", "_to_space"] {
        used = used.checked_add(parallel_space(
            places,
            places.pointer(young, "PSYoungGen", space)?,
        )?)?;
    }
    Some(used)
}

/// A space is filled from its bottom to its top. Which class has which of the two differs from release to release.
fn space_used<M: Memory>(
    places: &Places<'_, M>,
    space: u64,
    bottoms: [&str; 2],
    top: &str,
) -> Option<u64> {
    let bottom = bottoms
        .into_iter()
        .find_map(|class| places.pointer(space, class, "_bottom"))?;
    places.pointer(space, top, "_top")?.checked_sub(bottom)
}

fn serial_space<M: Memory>(places: &Places<'_, M>, space: u64) -> Option<u64> {
    space_used(
        places,
        space,
        ["ContiguousSpace", "Space"],
        "ContiguousSpace",
    )
}

fn parallel_space<M: Memory>(places: &Places<'_, M>, space: u64) -> Option<u64> {
    space_used(
        places,
        space,
        ["MutableSpace", "ImmutableSpace"],
        "MutableSpace",
    )
}

/// Where there are two ZGCs (JDK 21 to 23), the structures of the one without generations begin with an X.
fn z<M: Memory>(places: &Places<'_, M>, heap: u64, generational: Option<u64>) -> Option<u64> {
    let letter = match generational {
        Some(0) if places.offset("XCollectedHeap", "_heap").is_some() => "X",
        _ => "Z",
    };
    let [collected, inner, allocator] =
        ["CollectedHeap", "Heap", "PageAllocator"].map(|name| format!("{letter}{name}"));
    let heap = places.part(heap, &collected, "_heap")?;
    let pages = places.part(heap, &inner, "_page_allocator")?;
    places.word(pages, &allocator, "_used")
}
