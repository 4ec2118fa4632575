//! The Java heap and its collector's tables.

use super::Places;
use crate::unwind::memory::Memory;

/// The reserved range; None where the collector does not keep one (ZGC, which is known by its file).
pub(super) fn reserved<M: Memory>(places: &Places<'_, M>) -> Option<(u64, u64)> {
    let heap = places.value("Universe", "_collectedHeap").filter(|&heap| heap != 0)?;
    // `MemRegion`: the first word, and how many words there are.
    let region = places.part(heap, "CollectedHeap", "_reserved")?;
    let start = places.memory.read_u64(region).ok().filter(|&start| start != 0)?;
    let words = places.memory.read_u64(region.checked_add(8)?).ok()?;
    Some((start, start.checked_add(words.checked_mul(8)?)?))
}

/// The card table, where the collector has one.
pub(super) fn card_table<M: Memory>(places: &Places<'_, M>) -> Option<(u64, u64)> {
    reserved(places)?;
    let barriers = places.value("BarrierSet", "_barrier_set").filter(|&set| set != 0)?;
    let table = places.pointer(barriers, "CardTableBarrierSet", "_card_table")?;
    let start = places.pointer(table, "CardTable", "_byte_map")?;
    let size = places.word(table, "CardTable", "_byte_map_size")?;
    // Nonsense where the set is one without cards: a card is for 512 bytes of heap (or 128 to 1024, JDK 18).
    (0x1000..=1 << 40).contains(&size).then_some((start, start.checked_add(size)?))
}

/// Bytes in use now, with what is not reachable any more.
pub(super) fn used<M: Memory>(places: &Places<'_, M>, collector: Option<&str>) -> Option<u64> {
    let heap = places.value("Universe", "_collectedHeap").filter(|&heap| heap != 0)?;
    match collector? {
        "G1" => places.word(heap, "G1CollectedHeap", "_summary_bytes_used"),
        "Serial" => serial(places, heap),
        "Parallel" => parallel(places),
        "Z" => z(places, heap),
        "Shenandoah" => places.word(heap, "ShenandoahHeap", "_used"),
        _ => None,
    }
}

fn serial<M: Memory>(places: &Places<'_, M>, heap: u64) -> Option<u64> {
    // `SerialHeap` has its generations itself since 22.
    let class = ["SerialHeap", "GenCollectedHeap"].into_iter().find(|class| places.offset(class, "_young_gen").is_some())?;
    let young = places.pointer(heap, class, "_young_gen")?;
    let old = places.pointer(heap, class, "_old_gen")?;
    let spaces = ["_eden_space", "_from_space", "_to_space"];
    let mut used: u64 = 0;
    for space in spaces {
        used = used.checked_add(space_used(places, places.pointer(young, "DefNewGeneration", space)?)?)?;
    }
    used.checked_add(space_used(places, places.pointer(old, "TenuredGeneration", "_the_space")?)?)
}

fn parallel<M: Memory>(places: &Places<'_, M>) -> Option<u64> {
    let young = places.value("ParallelScavengeHeap", "_young_gen")?;
    let old = places.value("ParallelScavengeHeap", "_old_gen")?;
    let mut used = space_used(places, places.pointer(old, "PSOldGen", "_object_space")?)?;
    for space in ["_eden_space", "_from_space", "_to_space"] {
        used = used.checked_add(space_used(places, places.pointer(young, "PSYoungGen", space)?)?)?;
    }
    Some(used)
}

/// `ContiguousSpace` and `MutableSpace` are filled from their bottom to their top.
fn space_used<M: Memory>(places: &Places<'_, M>, space: u64) -> Option<u64> {
    let bottom = places.word(space, "Space", "_bottom").or_else(|| places.word(space, "MutableSpace", "_bottom"))?;
    let tops = ["ContiguousSpace", "MutableSpace"];
    let top = tops.into_iter().find_map(|class| {
        let top = places.word(space, class, "_top")?;
        (top >= bottom).then_some(top)
    })?;
    top.checked_sub(bottom)
}

fn z<M: Memory>(places: &Places<'_, M>, heap: u64) -> Option<u64> {
    // JDK 21 has both: the one without generations is called X.
    let inner = places.part(heap, "ZCollectedHeap", "_heap")?;
    let pages = places.part(inner, "ZHeap", "_page_allocator")?;
    let used = places.word(pages, "ZPageAllocator", "_used")?;
    let max = places.word(pages, "ZPageAllocator", "_max_capacity");
    // With the other layout it is something else.
    max.is_none_or(|max| used <= max && max.is_multiple_of(2 << 20)).then_some(used)
}
