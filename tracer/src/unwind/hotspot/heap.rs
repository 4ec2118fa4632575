//! Objects of the Java heap, read from the outside: references, headers, fields, strings.
//!
//! The collector moves objects while they are read. What a read is worth is said by [`Quiet`]: nothing has moved where
//! no collection ran before, none runs after, and the JVM's count of them is the same. ZGC moves objects while the
//! program runs; there the colour of each reference says whether it is up to date.
//!
//! Sources: OpenJDK's `oop.hpp`, `arrayOop.hpp`, `zAddress.hpp` (generational ZGC), `fieldInfo.hpp`, `fieldStreams.hpp`;
//! measured on 11, 17, 21 and 25.

use std::cell::Cell;

use crate::unwind::memory::Memory;

mod fields;
mod places;

pub use places::HeapPlaces;

use places::CollectionsPlace;

/// Bytes of a string that are read; what is longer is cut off.
const MAX_STRING: usize = 512;
/// An array of more elements holds no name.
const MAX_LENGTH: u32 = 1 << 24;
/// Compact headers hold the class above this bit (JDK 24, `markWord::klass_shift`).
const MARK_KLASS_SHIFT: u32 = 42;
/// Generational ZGC keeps four bits of which one is set above bit 12; the address begins behind it.
const REMAPPED_SHIFT: u32 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Narrow {
    base: u64,
    shift: u32,
}

impl Narrow {
    fn wide(self, value: u64) -> Option<u64> {
        self.base.checked_add(value << self.shift)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Wide,
    Narrow(Narrow),
    /// In the upper bits of the first word.
    Compact(Narrow),
}

/// What ZGC does to references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    None,
    /// The bits are part of the address: the heap is mapped under each of them.
    Mapped {
        bad_mask: u64,
    },
    /// The address is above them.
    Shifted {
        bad_mask: u64,
    },
}

/// The heap of one JVM.
#[derive(Clone, Debug)]
pub struct Heap {
    /// None where references are whole words.
    narrow_oop: Option<Narrow>,
    header: Header,
    colours: Colours,
    /// Of an array: where its length is, and the first byte of a byte array.
    length: u64,
    bytes: u64,
    collections: Option<CollectionsPlace>,
}

/// A moment at which nothing was being moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    collections: u32,
}

/// `arrayOopDesc`: the length follows the header. Bytes begin at a whole word up to JDK 22, right behind it since.
fn array_layout(header: Header, release: u32) -> (u64, u64) {
    match header {
        Header::Compact(_) => (8, 12),
        Header::Narrow(_) => (12, 16),
        Header::Wide if release < 23 => (16, 24),
        Header::Wide => (16, 20),
    }
}

/// Reads objects, and remembers whether a reference was out of date.
pub struct Reader<'a, M> {
    pub memory: &'a M,
    pub heap: &'a Heap,
    stale: Cell<bool>,
}

impl<'a, M: Memory> Reader<'a, M> {
    pub fn new(memory: &'a M, heap: &'a Heap) -> Self {
        Reader {
            memory,
            heap,
            stale: Cell::new(false),
        }
    }

    /// Whether any reference that was followed may lead to where an object has been.
    pub fn met_stale(&self) -> bool {
        self.stale.get()
    }

    /// None while a collection runs, or where the JVM does not tell.
    pub fn quiet(&self) -> Option<Quiet> {
        let place = self.heap.collections?;
        let heap = self.memory.read_u64(place.heap).ok()?;
        let active = self.memory.read_u8(heap.checked_add(place.active)?).ok()?;
        let collections = self.memory.read_u32(heap.checked_add(place.total)?).ok()?;
        (active == 0).then_some(Quiet { collections })
    }

    /// The object that the field at `address` refers to.
    pub fn field(&self, address: u64) -> Option<u64> {
        match self.heap.narrow_oop {
            None => self.reference(address),
            Some(narrow) => {
                let value = self
                    .memory
                    .read_u32(address)
                    .ok()
                    .filter(|&value| value != 0)?;
                narrow.wide(u64::from(value))
            }
        }
    }

    /// The object that the whole word at `address`, outside of the heap, refers to.
    pub fn reference(&self, address: u64) -> Option<u64> {
        let value = self
            .memory
            .read_u64(address)
            .ok()
            .filter(|&value| value != 0)?;
        let is_stale = |bad_mask| {
            self.memory
                .read_u64(bad_mask)
                .map_or(true, |bad_mask| value & bad_mask != 0)
        };
        match self.heap.colours {
            Colours::None => Some(value),
            Colours::Mapped { bad_mask } => {
                self.stale.set(self.stale.get() | is_stale(bad_mask));
                Some(value)
            }
            Colours::Shifted { bad_mask } => {
                self.stale.set(self.stale.get() | is_stale(bad_mask));
                let remapped = (value >> REMAPPED_SHIFT & 0xf) as u32;
                let shift = REMAPPED_SHIFT + 1 + remapped.trailing_zeros();
                remapped.is_power_of_two().then_some(value >> shift)
            }
        }
    }

    /// The class of an object.
    pub fn klass(&self, object: u64) -> Option<u64> {
        match self.heap.header {
            Header::Wide => self.memory.read_u64(object.checked_add(8)?).ok(),
            Header::Narrow(narrow) => {
                let value = self.memory.read_u32(object.checked_add(8)?).ok()?;
                narrow.wide(u64::from(value))
            }
            Header::Compact(narrow) => {
                let mark = self.memory.read_u64(object).ok()?;
                narrow.wide(mark >> MARK_KLASS_SHIFT)
            }
        }
    }

    /// The first bytes of an array whose elements have `element` bytes.
    pub fn array(&self, array: u64, element: usize) -> Option<Vec<u8>> {
        let length = self.memory.read_u32(array.checked_add(self.heap.length)?);
        let length = length.ok().filter(|&length| length < MAX_LENGTH)? as usize;
        let bytes = array.checked_add(self.heap.bytes)?;
        let read = length.saturating_mul(element).min(MAX_STRING);
        self.memory.read_vec(bytes, read).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::memory::RecordedMemory;

    fn heap(narrow_oop: Option<Narrow>, header: Header, colours: Colours) -> Heap {
        let (length, bytes) = array_layout(header, 21);
        Heap {
            narrow_oop,
            header,
            colours,
            length,
            bytes,
            collections: Some(CollectionsPlace {
                heap: 0x100,
                active: 8,
                total: 12,
            }),
        }
    }

    const NARROW: Narrow = Narrow {
        base: 0x10_0000,
        shift: 3,
    };

    /// References are widened, or freed of ZGC's colours; one of a bad colour is known to be out of date.
    #[test]
    fn references() {
        let mut memory = RecordedMemory::default();
        memory.put(0x1000, &5_u32.to_le_bytes());
        let narrow = heap(Some(NARROW), Header::Narrow(NARROW), Colours::None);
        assert_eq!(Reader::new(&memory, &narrow).field(0x1000), Some(0x10_0028));

        let bad_mask = 0x2000;
        memory.put(bad_mask, &0x1000_u64.to_le_bytes());
        let shifted = heap(None, Header::Wide, Colours::Shifted { bad_mask });
        // The second of the four bits says that the address begins two bits further up.
        let address = 0x4000_0000_1234_u64;
        let coloured = [
            address << 14 | 0x2000,
            0x4000_0000_1200_u64 << 13 | 0x1000,
            0x3000,
        ];
        for (slot, value) in coloured.iter().enumerate() {
            memory.put(0x3000 + 8 * slot as u64, &value.to_le_bytes());
        }
        let reader = Reader::new(&memory, &shifted);
        assert_eq!(
            (reader.field(0x3000), reader.met_stale()),
            (Some(address), false)
        );
        assert_eq!(reader.field(0x3008), Some(0x4000_0000_1200));
        assert!(reader.met_stale());
        // Of no colour at all: nonsense.
        assert_eq!(reader.field(0x3010), None);
    }

    /// The class is found in each form of header, and a byte array behind each of them.
    #[test]
    fn headers() {
        let mut memory = RecordedMemory::default();
        let object = 0x5000;
        memory.put(object, &[0; 32]);
        memory.put(object + 8, &5_u32.to_le_bytes());
        memory.put(object + 12, &2_u32.to_le_bytes());
        memory.put(object + 16, b"ab");
        let narrow = heap(None, Header::Narrow(NARROW), Colours::None);
        let reader = Reader::new(&memory, &narrow);
        assert_eq!(reader.klass(object), Some(0x10_0028));
        assert_eq!(reader.array(object, 1), Some(b"ab".to_vec()));
        memory.put(object, &(5_u64 << MARK_KLASS_SHIFT | 1).to_le_bytes());
        memory.put(object + 8, &3_u32.to_le_bytes());
        memory.put(object + 12, b"cde");
        let compact = heap(None, Header::Compact(NARROW), Colours::None);
        let reader = Reader::new(&memory, &compact);
        assert_eq!(reader.klass(object), Some(0x10_0028));
        assert_eq!(reader.array(object, 1), Some(b"cde".to_vec()));
        // A length that no name has.
        memory.put(object + 8, &u32::MAX.to_le_bytes());
        assert_eq!(Reader::new(&memory, &compact).array(object, 1), None);
    }

    /// There is no quiet moment while a collection runs.
    #[test]
    fn quiet() {
        let mut memory = RecordedMemory::default();
        let heap = heap(None, Header::Wide, Colours::None);
        memory.put(0x100, &0x200_u64.to_le_bytes());
        memory.put(0x208, &[0, 0, 0, 0, 7, 0, 0, 0]);
        let expected = Some(Quiet { collections: 7 });
        assert_eq!(Reader::new(&memory, &heap).quiet(), expected);
        memory.put(0x208, &[1]);
        assert_eq!(Reader::new(&memory, &heap).quiet(), None);
    }
}
