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

use super::layout::{MAX_STRUCT, MethodLayout};
use super::names;
use super::unsigned5::Unsigned5;
use super::vm_structs::VmStructs;

/// JDK 25 has about 1,400 flags.
const MAX_FLAGS: u64 = 1 << 12;
const MAX_FLAG_NAME: usize = 64;
/// Fields of one class that are looked at; `java.lang.Thread` has about forty, static ones included.
const MAX_FIELDS: usize = 256;
/// Bytes that describe the fields of one class.
const MAX_FIELD_BYTES: usize = 1 << 13;
/// Bytes of a string that are read; what is longer is cut off.
const MAX_STRING: usize = 512;
/// An array of more elements holds no name.
const MAX_LENGTH: u32 = 1 << 24;
/// Compact headers hold the class above this bit (JDK 24, `markWord::klass_shift`).
const MARK_KLASS_SHIFT: u32 = 42;
/// Generational ZGC keeps four bits of which one is set above bit 12; the address begins behind it.
const REMAPPED_SHIFT: u32 = 12;

/// Where the JVM says how its heap looks: addresses of variables and offsets of fields.
#[derive(Clone, Debug)]
pub struct HeapPlaces {
    narrow_oop: NarrowPlace,
    narrow_klass: NarrowPlace,
    flags: FlagsPlace,
    fields: FieldsPlace,
    /// `InstanceKlass::_constants`.
    constants: u64,
    colours: Vec<ColourPlace>,
    collections: Option<CollectionsPlace>,
}

/// Addresses of base and shift.
#[derive(Clone, Copy, Debug)]
struct NarrowPlace {
    base: u64,
    shift: u64,
}

#[derive(Clone, Copy, Debug)]
struct FlagsPlace {
    table: u64,
    count: u64,
    stride: u64,
    name: u64,
    address: u64,
}

/// Where a class describes its fields.
#[derive(Clone, Copy, Debug)]
enum FieldsPlace {
    /// Up to 20: six 16-bit words for each.
    Words { fields: u64, count: u64 },
    /// Since 21: UNSIGNED5.
    Stream(u64),
}

/// The table of a ZGC: address of the pointer to it, and the offset of the pointer to the mask of bad colours.
#[derive(Clone, Copy, Debug)]
struct ColourPlace {
    table: u64,
    bad_mask: u64,
    is_shifted: bool,
}

#[derive(Clone, Copy, Debug)]
struct CollectionsPlace {
    heap: u64,
    active: u64,
    total: u64,
}

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

impl HeapPlaces {
    /// None where this JVM does not describe its heap in a known way.
    pub fn detect(structs: &VmStructs) -> Option<Self> {
        let place = |names: &[(&str, &str)]| structs.field(names);
        let address = |names: &[(&str, &str)]| {
            place(names)
                .map(|field| field.address)
                .filter(|&address| address != 0)
        };
        let offset = |names: &[(&str, &str)]| {
            place(names)
                .map(|field| field.offset)
                .filter(|&offset| offset < MAX_STRUCT)
        };
        let narrow = |old: &str, class: &str, name: &str| {
            let at = |end: &str| {
                let (inner, plain) = (format!("{name}._{end}"), format!("_{end}"));
                address(&[(class, &plain), (class, &inner), (old, &inner)])
            };
            Some(NarrowPlace {
                base: at("base")?,
                shift: at("shift")?,
            })
        };
        let flag = if structs.size("JVMFlag").is_some() {
            "JVMFlag"
        } else {
            "Flag"
        };
        let fields = match offset(&[("InstanceKlass", "_fieldinfo_stream")]) {
            Some(stream) => FieldsPlace::Stream(stream),
            None => FieldsPlace::Words {
                fields: offset(&[("InstanceKlass", "_fields")])?,
                count: offset(&[("InstanceKlass", "_java_fields_count")])?,
            },
        };
        let colour = |class: &str, mask: &str, is_shifted| {
            Some(ColourPlace {
                table: address(&[(class, "_instance_p")])?,
                bad_mask: offset(&[(class, mask)])?,
                is_shifted,
            })
        };
        let colours = [
            colour("ZGlobalsForVMStructs", "_ZPointerLoadBadMask", true),
            colour("ZGlobalsForVMStructs", "_ZAddressBadMask", false),
            colour("XGlobalsForVMStructs", "_XAddressBadMask", false),
        ];
        let collections = || {
            Some(CollectionsPlace {
                heap: address(&[("Universe", "_collectedHeap")])?,
                active: offset(&[
                    ("CollectedHeap", "_is_stw_gc_active"),
                    ("CollectedHeap", "_is_gc_active"),
                ])?,
                total: offset(&[("CollectedHeap", "_total_collections")])?,
            })
        };
        Some(HeapPlaces {
            narrow_oop: narrow("Universe", "CompressedOops", "_narrow_oop")?,
            narrow_klass: narrow("Universe", "CompressedKlassPointers", "_narrow_klass")?,
            flags: FlagsPlace {
                table: address(&[(flag, "flags")])?,
                count: address(&[(flag, "numFlags")])?,
                stride: structs.size(flag)?,
                name: offset(&[(flag, "_name")])?,
                address: offset(&[(flag, "_addr")])?,
            },
            fields,
            constants: offset(&[("InstanceKlass", "_constants")])?,
            colours: colours.into_iter().flatten().collect(),
            collections: collections(),
        })
    }

    /// The heap as it is once the JVM has set it up.
    pub fn heap(&self, memory: &impl Memory, release: u32) -> Option<Heap> {
        let [oops, klasses, compact] = self.flags(
            memory,
            [
                "UseCompressedOops",
                "UseCompressedClassPointers",
                "UseCompactObjectHeaders",
            ],
        )?;
        // A flag that is gone has become the only way. Without narrow classes base and shift are nonsense (25).
        let header = match (compact, klasses) {
            (Some(true), _) => Header::Compact(narrow(memory, self.narrow_klass)?),
            (_, Some(false)) => Header::Wide,
            _ => Header::Narrow(narrow(memory, self.narrow_klass)?),
        };
        let (length, bytes) = array_layout(header, release);
        Some(Heap {
            narrow_oop: match oops {
                Some(true) => Some(narrow(memory, self.narrow_oop)?),
                _ => None,
            },
            header,
            colours: self.colours(memory),
            length,
            bytes,
            collections: self.collections,
        })
    }

    /// The values of boolean flags; None for those that this JVM does not have.
    fn flags<const N: usize>(
        &self,
        memory: &impl Memory,
        wanted: [&str; N],
    ) -> Option<[Option<bool>; N]> {
        let place = self.flags;
        let table = memory.read_u64(place.table).ok()?;
        let count = memory.read_u64(place.count).ok()?.min(MAX_FLAGS);
        let mut found = [None; N];
        for index in 0..count {
            let entry = table.checked_add(index.checked_mul(place.stride)?)?;
            let name = memory.read_u64(entry.checked_add(place.name)?).ok()?;
            // The table ends with an entry without a name.
            let Ok(name) = memory.read_name(name, MAX_FLAG_NAME) else {
                continue;
            };
            if let Some(at) = wanted.iter().position(|wanted| *wanted == name) {
                let value = memory.read_u64(entry.checked_add(place.address)?).ok()?;
                found[at] = Some(memory.read_u8(value).ok()? != 0);
            }
        }
        Some(found)
    }

    /// The tables of all ZGCs are there in each JVM; the masks are set where one is in use.
    fn colours(&self, memory: &impl Memory) -> Colours {
        let used = self.colours.iter().find_map(|place| {
            let table = memory.read_u64(place.table).ok()?;
            let bad_mask = memory.read_u64(table.checked_add(place.bad_mask)?).ok()?;
            let is_used = memory.read_u64(bad_mask).ok()? != 0;
            is_used.then_some(match place.is_shifted {
                true => Colours::Shifted { bad_mask },
                false => Colours::Mapped { bad_mask },
            })
        });
        used.unwrap_or(Colours::None)
    }

    /// Offsets of the fields `wanted` (name and descriptor) in objects of the class at `klass`.
    pub fn field_offsets<const N: usize>(
        &self,
        memory: &impl Memory,
        layout: &MethodLayout,
        release: u32,
        klass: u64,
        wanted: [(&str, &str); N],
    ) -> Option<[Option<u64>; N]> {
        let constants = memory.read_u64(klass.checked_add(self.constants)?).ok()?;
        let symbol = |index: u32| {
            let slot = layout.constant_pool_size + 8 * u64::from(index);
            let symbol = memory.read_u64(constants.checked_add(slot)?).ok()?;
            names::symbol(memory, layout, symbol & !1).ok()
        };
        let mut found = [None; N];
        for field in self.fields(memory, release, klass)?.iter().take(MAX_FIELDS) {
            let named = |&(name, descriptor): &(&str, &str)| {
                symbol(field.name).as_deref() == Some(name)
                    && symbol(field.descriptor).as_deref() == Some(descriptor)
            };
            if let Some(at) = wanted.iter().position(named) {
                found[at] = Some(u64::from(field.offset)).filter(|&offset| offset < MAX_STRUCT);
            }
        }
        Some(found)
    }

    fn fields(&self, memory: &impl Memory, release: u32, klass: u64) -> Option<Vec<Field>> {
        let array = |offset: u64, element: usize| {
            let array = memory.read_u64(klass.checked_add(offset)?).ok()?;
            let length = memory.read_u32(array).ok()? as usize;
            let bytes = length.checked_mul(element)?.min(MAX_FIELD_BYTES);
            // `Array<u1>` and `Array<u2>`: the elements follow the length.
            memory.read_vec(array.checked_add(4)?, bytes).ok()
        };
        match self.fields {
            FieldsPlace::Words { fields, count } => {
                let mut java = [0; 2];
                memory.read(klass.checked_add(count)?, &mut java).ok()?;
                Some(fields_of_words(
                    &array(fields, 2)?,
                    u16::from_le_bytes(java),
                ))
            }
            FieldsPlace::Stream(offset) => Some(fields_of_stream(&array(offset, 1)?, release)),
        }
    }
}

/// One field of a class: indices of its name and descriptor in the constant pool, and its place in objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    name: u32,
    descriptor: u32,
    offset: u32,
}

/// Access flags, name, descriptor, initial value, and the offset in two halves, above two bits that say so.
fn fields_of_words(bytes: &[u8], count: u16) -> Vec<Field> {
    let word = |bytes: &[u8; 12], index: usize| {
        u32::from(bytes[2 * index]) | u32::from(bytes[2 * index + 1]) << 8
    };
    let (fields, _) = bytes.as_chunks::<12>();
    fields
        .iter()
        .take(usize::from(count))
        .map(|bytes| Field {
            name: word(bytes, 1),
            descriptor: word(bytes, 2),
            offset: (word(bytes, 4) | word(bytes, 5) << 16) >> 2,
        })
        .collect()
}

/// How many fields there are, and how many injected ones; then the fields.
fn fields_of_stream(bytes: &[u8], release: u32) -> Vec<Field> {
    let mut numbers = Unsigned5::new(bytes, release);
    let (Some(count), Some(_injected)) = (numbers.number(), numbers.number()) else {
        return Vec::new();
    };
    let count = (count as usize).min(MAX_FIELDS);
    std::iter::from_fn(|| next_field(&mut numbers))
        .take(count)
        .collect()
}

/// Name, descriptor, offset, access flags, own flags, and what these ask for: an initial value, a generic descriptor, a
/// contention group.
fn next_field(numbers: &mut Unsigned5<'_>) -> Option<Field> {
    const OPTIONAL: [u32; 3] = [0, 2, 4];
    let field = Field {
        name: numbers.number()?,
        descriptor: numbers.number()?,
        offset: numbers.number()?,
    };
    let _access = numbers.number()?;
    let flags = numbers.number()?;
    for _ in OPTIONAL.iter().filter(|&&bit| flags & (1 << bit) != 0) {
        numbers.number()?;
    }
    Some(field)
}

fn narrow(memory: &impl Memory, place: NarrowPlace) -> Option<Narrow> {
    Some(Narrow {
        base: memory.read_u64(place.base).ok()?,
        shift: memory
            .read_u32(place.shift)
            .ok()
            .filter(|&shift| shift < 32)?,
    })
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

    /// Fields of both forms are read with the offset that each has in objects; a stream that ends early gives what it had.
    #[test]
    fn fields() {
        let field = |name, descriptor, offset| Field {
            name,
            descriptor,
            offset,
        };
        // Offset 24 is kept above two bits.
        let words: [u16; 12] = [2, 7, 8, 0, 24 << 2 | 1, 0, 0, 1, 2, 0, 0, 1];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected = [field(7, 8, 24), field(1, 2, 1 << 14)];
        assert_eq!(fields_of_words(&bytes, 2), expected);
        assert_eq!(fields_of_words(&bytes, 1), expected[..1]);
        // Two fields, the first with an initial value and a generic descriptor; all numbers are one higher.
        let stream = [3, 1, 8, 9, 25, 1, 6, 50, 51, 3, 4, 17, 1, 1, 0];
        assert_eq!(
            fields_of_stream(&stream, 21),
            [field(7, 8, 24), field(2, 3, 16)]
        );
        assert_eq!(fields_of_stream(&stream[..10], 21), [field(7, 8, 24)]);
        assert_eq!(fields_of_stream(&[], 21), []);
    }

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
