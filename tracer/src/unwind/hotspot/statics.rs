//! Counters in static fields of a Java class: `AtomicLong`s and plain longs, read from the outside.
//!
//! The collector may move what they are in while it is read: a value counts only if nothing was moved meanwhile.

use crate::unwind::memory::Memory;

use super::heap::{HeapPlaces, Reader};
use super::layout::{MAX_STRUCT, VmLayout};
use super::vm_structs::VmStructs;

/// A collection may run at the first look.
const TRIES: usize = 4;
const ATOMIC: &str = "Ljava/util/concurrent/atomic/AtomicLong;";

/// Where static fields are found.
#[derive(Debug)]
pub struct Statics {
    heap: HeapPlaces,
    /// `Klass::_java_mirror`, behind a handle.
    mirror: u64,
}

impl Statics {
    /// None where this JVM does not say enough of its heap.
    pub fn detect(structs: &VmStructs) -> Option<Statics> {
        let mirror = structs.field(&[("Klass", "_java_mirror")])?.offset;
        Some(Statics {
            heap: HeapPlaces::detect(structs)?,
            mirror: (mirror < MAX_STRUCT).then_some(mirror)?,
        })
    }

    /// The values of static fields of the class at `klass`: None for each that it does not have, and None in all where the
    /// collector was at work each time.
    pub fn longs<const N: usize>(
        &self,
        memory: &impl Memory,
        layout: &VmLayout,
        klass: u64,
        names: [&str; N],
    ) -> Option<[Option<u64>; N]> {
        let heap = self.heap.heap(memory, layout.release)?;
        let offsets = |descriptor| {
            let wanted = names.map(|name| (name, descriptor));
            self.heap
                .field_offsets(memory, &layout.method, layout.release, klass, wanted)
        };
        let (atomics, plain) = (offsets(ATOMIC)?, offsets("J")?);
        for _ in 0..TRIES {
            let reader = Reader::new(memory, &heap);
            let Some(before) = reader.quiet() else {
                continue;
            };
            let values = self.read(&reader, layout, klass, &atomics, &plain);
            if values.is_some() && reader.quiet() == Some(before) && !reader.met_stale() {
                return values;
            }
        }
        None
    }

    fn read<M: Memory, const N: usize>(
        &self,
        reader: &Reader<'_, M>,
        layout: &VmLayout,
        klass: u64,
        atomics: &[Option<u64>; N],
        plain: &[Option<u64>; N],
    ) -> Option<[Option<u64>; N]> {
        let memory = reader.memory;
        let handle = memory.read_u64(klass.checked_add(self.mirror)?).ok()?;
        let mirror = reader.reference(handle)?;
        let mut values = [None; N];
        for at in 0..N {
            if let Some(offset) = plain[at] {
                values[at] = memory.read_u64(mirror.checked_add(offset)?).ok();
            } else if let Some(offset) = atomics[at] {
                let object = reader.field(mirror.checked_add(offset)?)?;
                let wanted = [("value", "J")];
                let class = reader.klass(object)?;
                let [value] = self.heap.field_offsets(
                    memory,
                    &layout.method,
                    layout.release,
                    class,
                    wanted,
                )?;
                values[at] = memory.read_u64(object.checked_add(value?)?).ok();
            }
        }
        Some(values)
    }
}
