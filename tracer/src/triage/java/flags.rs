//! Flags of the JVM that matter for its memory.

use super::{Flags, Places};
use crate::unwind::memory::{Memory, PageCache};

/// JDK 11 has 1,426 flags, JDK 25 1,289.
const MAX_FLAGS: u64 = 1 << 12;
const MAX_NAME: usize = 64;
/// Pages that the table and its names span.
const PAGES: usize = 256;

/// Flags of 64 bits.
const SIZES: [&str; 7] = [
    "MaxHeapSize",
    "InitialHeapSize",
    "MaxDirectMemorySize",
    "MaxMetaspaceSize",
    "CompressedClassSpaceSize",
    "ReservedCodeCacheSize",
    "ThreadStackSize",
];

const BOOLEANS: [&str; 12] = [
    "UseG1GC",
    "UseParallelGC",
    "UseSerialGC",
    "UseZGC",
    "ZGenerational",
    "UseShenandoahGC",
    "UseEpsilonGC",
    "UseConcMarkSweepGC",
    "UseCompressedClassPointers",
    "UseLargePages",
    "AlwaysPreTouch",
    "UsePerfData",
];

/// The flags in [`SIZES`] and [`BOOLEANS`] that this JVM has.
pub(super) fn read<M: Memory>(places: &Places<'_, M>) -> Option<Flags> {
    let class = ["JVMFlag", "Flag"]
        .into_iter()
        .find(|class| places.structs.size(class).is_some())?;
    let stride = places
        .structs
        .size(class)
        .filter(|stride| (8..=256).contains(stride))?;
    let (name, address) = (
        places.offset(class, "_name")?,
        places.offset(class, "_addr")?,
    );
    let table = places.value(class, "flags")?;
    let count = places.value(class, "numFlags")?.min(MAX_FLAGS);
    let memory = PageCache::new(places.memory, PAGES);
    let mut flags = Flags::new();
    for index in 0..count {
        let entry = table.checked_add(index * stride)?;
        let pointer = memory.read_u64(entry.checked_add(name)?).ok()?;
        // The table ends with an entry without a name.
        let Ok(name) = memory.read_name(pointer, MAX_NAME) else {
            continue;
        };
        let (is_size, is_boolean) = (SIZES.contains(&&*name), BOOLEANS.contains(&&*name));
        if is_size || is_boolean {
            let value = memory.read_u64(entry.checked_add(address)?).ok()?;
            // Flags may be set while the JVM runs: not from the cache.
            let value = match is_size {
                true => places.memory.read_u64(value),
                false => places.memory.read_u8(value).map(u64::from),
            };
            if let Ok(value) = value {
                flags.insert(name, value);
            }
        }
    }
    Some(flags)
}

/// The collector in use.
pub(super) fn collector(flags: &Flags) -> Option<&'static str> {
    const COLLECTORS: [(&str, &str); 7] = [
        ("UseG1GC", "G1"),
        ("UseParallelGC", "Parallel"),
        ("UseSerialGC", "Serial"),
        ("UseZGC", "Z"),
        ("UseShenandoahGC", "Shenandoah"),
        ("UseEpsilonGC", "Epsilon"),
        ("UseConcMarkSweepGC", "CMS"),
    ];
    let used = |(flag, _): &&(&str, &str)| flags.get(*flag) == Some(&1);
    COLLECTORS.iter().find(used).map(|(_, name)| *name)
}
