//! What a HotSpot JVM says of its own memory, by its vmStructs: address ranges, flags, the heap.
//!
//! Sources: `vmStructs.cpp` and its parts for each collector, JDK 11 to 25; seen on 11, 17, 21 and 25.

use std::collections::BTreeMap;

use super::claims::Claims;
use super::owners::Kind;
use super::reading::{Direct, Heap, Jvm};
use super::smaps::Mapping;
use crate::target::modules::Module;
use crate::unwind::hotspot::layout::{Heaps, MAX_STRUCT, ThreadList, ThreadsLayout, VmLayout};
use crate::unwind::hotspot::statics::Statics;
use crate::unwind::hotspot::vm_structs::VmStructs;
use crate::unwind::hotspot::{UnsupportedJvm, load_bias};
use crate::unwind::memory::{Memory, PageCache};

mod classes;
mod flags;
mod heap;

use classes::Classes;

/// Pages that reading the tables and flags takes.
const PAGES: usize = 1024;
const MAX_THREADS: u64 = 1 << 16;
const MAX_CODE_HEAPS: u32 = 8;
/// No range of a JVM is larger.
const MAX_RANGE: u64 = 1 << 46;

/// A JVM whose description of itself is known. It does not change.
pub struct Described {
    structs: VmStructs,
    /// Why classes, threads and buffers are unknown, where they are.
    layout: Result<VmLayout, UnsupportedJvm>,
    statics: Option<Statics>,
}

/// Typed access to the tables.
struct Places<'a, M> {
    structs: &'a VmStructs,
    memory: &'a M,
}

impl<M: Memory> Places<'_, M> {
    fn offset(&self, class: &str, field: &str) -> Option<u64> {
        let offset = self.structs.field(&[(class, field)])?.offset;
        (offset < MAX_STRUCT).then_some(offset)
    }

    /// The value of a static field.
    fn value(&self, class: &str, field: &str) -> Option<u64> {
        let address = self.structs.field(&[(class, field)])?.address;
        self.memory.read_u64(address).ok()
    }

    /// The word in a field of the object at `object`.
    fn word(&self, object: u64, class: &str, field: &str) -> Option<u64> {
        let offset = self.offset(class, field)?;
        self.memory.read_u64(object.checked_add(offset)?).ok()
    }

    /// The same, not null.
    fn pointer(&self, object: u64, class: &str, field: &str) -> Option<u64> {
        self.word(object, class, field)
            .filter(|&pointer| pointer != 0)
    }

    /// Where an embedded object begins.
    fn part(&self, object: u64, class: &str, field: &str) -> Option<u64> {
        object.checked_add(self.offset(class, field)?)
    }
}

impl Described {
    /// Reads the tables of the libjvm that is `module`.
    ///
    /// # Errors
    /// As [`VmStructs::read`].
    pub fn read(memory: &impl Memory, module: &Module) -> Result<Described, UnsupportedJvm> {
        let memory = PageCache::new(memory, PAGES);
        let bias = load_bias(module).ok_or(UnsupportedJvm::Unreadable)?;
        let structs = VmStructs::read(&memory, &module.file, bias)?;
        Ok(Described {
            layout: VmLayout::detect(&structs, &memory),
            statics: Statics::detect(&structs),
            structs,
        })
    }

    /// Reads what the JVM says now, and claims its ranges.
    pub fn look(&self, memory: &impl Memory, mappings: &[Mapping], claims: &mut Claims) -> Jvm {
        let places = Places {
            structs: &self.structs,
            memory,
        };
        let flags = flags::read(&places).unwrap_or_default();
        let collector = flags::collector(&flags);
        let mut jvm = Jvm {
            collector: collector.map(str::to_owned),
            unsupported: self.layout.as_ref().err().map(ToString::to_string),
            ..Jvm::default()
        };
        jvm.heap = Heap {
            max: flags.get("MaxHeapSize").copied(),
            used: heap::used(&places, &flags),
            ..Heap::default()
        };
        claim(&mut jvm.heap, &places, claims);
        if let Ok(layout) = &self.layout {
            code_heaps(&places, layout, claims);
            jvm.java_threads = layout
                .threads
                .as_ref()
                .and_then(|threads| stacks(&places, threads, claims));
            let classes = classes::walk(&places, layout);
            if let Some(classes) = classes {
                classes.claim(mappings, &flags, layout.release, claims);
                jvm.direct = self.direct(memory, layout, &classes);
                (jvm.class_loaders, jvm.classes) = (Some(classes.loaders), Some(classes.count));
            }
        }
        jvm.flags = flags;
        jvm
    }

    /// The range of the perf data in memory.
    pub fn perf_data(&self, memory: &impl Memory) -> Option<(u64, u64)> {
        let places = Places {
            structs: &self.structs,
            memory,
        };
        let start = places
            .value("PerfMemory", "_start")
            .filter(|&start| start != 0)?;
        let end = places.value("PerfMemory", "_end")?;
        (start < end).then_some((start, end))
    }

    /// What `java.nio.Bits` has counted. None where the class is there and can't be read; all zero where it is not loaded.
    fn direct(&self, memory: &impl Memory, layout: &VmLayout, classes: &Classes) -> Option<Direct> {
        let Some(bits) = classes.bits else {
            return (!classes.partial).then(Direct::default);
        };
        let names = ["COUNT", "TOTAL_CAPACITY", "RESERVED_MEMORY", "MAX_MEMORY"];
        let values = self.statics.as_ref()?.longs(memory, layout, bits, names)?;
        let sane = |value: Option<u64>| value.filter(|&value| value < MAX_RANGE);
        let [count, capacity, reserved, max] = values;
        Some(Direct {
            count: sane(count)?,
            capacity: sane(capacity)?,
            reserved: sane(reserved)?,
            max: max.unwrap_or(0),
        })
    }
}

/// The ranges that do not depend on the layout of objects.
fn claim<M: Memory>(found: &mut Heap, places: &Places<'_, M>, claims: &mut Claims) {
    let mut add = |range: Option<(u64, u64)>, kind| {
        if let Some((start, end)) =
            range.filter(|&(start, end)| start < end && end - start < MAX_RANGE)
        {
            claims.add(start, end, kind, false);
        }
    };
    let reserved = heap::reserved(places);
    add(reserved, Kind::JavaHeap);
    found.reserved = reserved.map(|(start, end)| end - start);
    let pair = |class, low, high| {
        let (low, high) = (places.value(class, low)?, places.value(class, high)?);
        (low != 0).then_some((low, high))
    };
    add(
        pair("CodeCache", "_low_bound", "_high_bound"),
        Kind::CodeCache,
    );
    add(
        pair(
            "MetaspaceObj",
            "_shared_metaspace_base",
            "_shared_metaspace_top",
        ),
        Kind::Cds,
    );
    add(pair("PerfMemory", "_start", "_end"), Kind::JvmData);
    add(heap::card_table(places), Kind::CollectorTables);
}

/// The maps of the code heaps' segments lie apart from the code.
fn code_heaps<M: Memory>(
    places: &Places<'_, M>,
    layout: &VmLayout,
    claims: &mut Claims,
) -> Option<()> {
    let memory = places.memory;
    let cache = &layout.code_cache;
    let heaps: Vec<u64> = match cache.heaps {
        Heaps::One(address) => vec![memory.read_u64(address).ok()?],
        Heaps::Array { address, len, data } => {
            let array = memory.read_u64(address).ok()?;
            let len = memory
                .read_u32(array.checked_add(len)?)
                .ok()?
                .min(MAX_CODE_HEAPS);
            let data = memory.read_u64(array.checked_add(data)?).ok()?;
            (0..u64::from(len))
                .filter_map(|index| memory.read_u64(data.checked_add(8 * index)?).ok())
                .collect()
        }
    };
    for heap in heaps {
        for space in [cache.memory, cache.segmap] {
            let space = heap.checked_add(space)?;
            let low = memory
                .read_u64(space.checked_add(cache.space_low_boundary)?)
                .ok()?;
            let high = memory
                .read_u64(space.checked_add(cache.space_high_boundary)?)
                .ok()?;
            if low != 0 && low < high && high - low < MAX_RANGE {
                claims.add(low, high, Kind::CodeCache, false);
            }
        }
    }
    Some(())
}

/// Claims the stacks of all Java threads; how many there are.
fn stacks<M: Memory>(
    places: &Places<'_, M>,
    layout: &ThreadsLayout,
    claims: &mut Claims,
) -> Option<u64> {
    let memory = places.memory;
    let threads = thread_list(memory, layout)?;
    let class = ["JavaThread", "Thread"]
        .into_iter()
        .find(|class| places.offset(class, "_stack_base").is_some())?;
    for &thread in &threads {
        let base = places.word(thread, class, "_stack_base");
        let size = places.word(thread, class, "_stack_size");
        // A thread that has just begun does not know its stack yet.
        let (Some(base), Some(size)) = (base, size) else {
            continue;
        };
        if (1..=1 << 32).contains(&size) && base > size {
            claims.add(base - size, base, Kind::JavaStacks, false);
        }
    }
    Some(threads.len() as u64)
}

fn thread_list(memory: &impl Memory, layout: &ThreadsLayout) -> Option<Vec<u64>> {
    match layout.list {
        ThreadList::Array {
            address,
            len,
            threads,
        } => {
            let list = memory.read_u64(address).ok()?;
            let len = memory.read_u32(list.checked_add(len)?).ok()?;
            let first = memory.read_u64(list.checked_add(threads)?).ok()?;
            let entry = |index: u64| memory.read_u64(first.checked_add(8 * index)?).ok();
            Some(
                (0..u64::from(len).min(MAX_THREADS))
                    .map_while(entry)
                    .collect(),
            )
        }
        ThreadList::Linked { address, next } => {
            let mut thread = memory.read_u64(address).ok()?;
            let mut threads = Vec::new();
            while thread != 0 && (threads.len() as u64) < MAX_THREADS {
                threads.push(thread);
                thread = memory.read_u64(thread.checked_add(next)?).ok()?;
            }
            Some(threads)
        }
    }
}

/// Flags by name; booleans are 0 and 1.
type Flags = BTreeMap<String, u64>;
