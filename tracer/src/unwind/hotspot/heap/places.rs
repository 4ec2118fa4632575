//! Where the JVM says how its heap looks: addresses of variables and offsets of fields, by their names in vmStructs.

use crate::unwind::hotspot::layout::MAX_STRUCT;
use crate::unwind::hotspot::vm_structs::VmStructs;
use crate::unwind::memory::Memory;

use super::{Colours, Header, Heap, Narrow, array_layout};

/// JDK 25 has about 1,400 flags.
const MAX_FLAGS: u64 = 1 << 12;
const MAX_FLAG_NAME: usize = 64;

/// Where the JVM says how its heap looks: addresses of variables and offsets of fields.
#[derive(Clone, Debug)]
pub struct HeapPlaces {
    narrow_oop: NarrowPlace,
    narrow_klass: NarrowPlace,
    flags: FlagsPlace,
    pub(super) fields: FieldsPlace,
    /// `InstanceKlass::_constants`.
    pub(super) constants: u64,
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
pub enum FieldsPlace {
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

/// The heap that is in use, whether it stops the program to collect, and how often it has collected.
#[derive(Clone, Copy, Debug)]
pub struct CollectionsPlace {
    pub heap: u64,
    pub active: u64,
    pub total: u64,
}

impl HeapPlaces {
    /// None where this JVM does not describe its heap in a known way.
    pub fn detect(structs: &VmStructs) -> Option<Self> {
        let find = Find(structs);
        let colours = [
            find.colour("ZGlobalsForVMStructs", "_ZPointerLoadBadMask", true),
            find.colour("ZGlobalsForVMStructs", "_ZAddressBadMask", false),
            find.colour("XGlobalsForVMStructs", "_XAddressBadMask", false),
        ];
        Some(HeapPlaces {
            narrow_oop: find.narrow("CompressedOops", "_narrow_oop")?,
            narrow_klass: find.narrow("CompressedKlassPointers", "_narrow_klass")?,
            flags: find.flags()?,
            fields: find.fields()?,
            constants: find.offset(&[("InstanceKlass", "_constants")])?,
            colours: colours.into_iter().flatten().collect(),
            collections: find.collections(),
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
}

struct Find<'a>(&'a VmStructs);

impl Find<'_> {
    fn address(&self, names: &[(&str, &str)]) -> Option<u64> {
        let address = self.0.field(names)?.address;
        (address != 0).then_some(address)
    }

    fn offset(&self, names: &[(&str, &str)]) -> Option<u64> {
        let offset = self.0.field(names)?.offset;
        (offset < MAX_STRUCT).then_some(offset)
    }

    /// `Universe::_narrow_oop._base` up to 12, `CompressedOops::_narrow_oop._base`, and since 25 `CompressedOops::_base`.
    fn narrow(&self, class: &str, name: &str) -> Option<NarrowPlace> {
        let at = |end: &str| {
            let (inner, plain) = (format!("{name}._{end}"), format!("_{end}"));
            self.address(&[(class, &plain), (class, &inner), ("Universe", &inner)])
        };
        Some(NarrowPlace {
            base: at("base")?,
            shift: at("shift")?,
        })
    }

    /// `Flag` up to 9.
    fn flags(&self) -> Option<FlagsPlace> {
        let names = ["JVMFlag", "Flag"];
        let flag = names.into_iter().find(|name| self.0.size(name).is_some())?;
        Some(FlagsPlace {
            table: self.address(&[(flag, "flags")])?,
            count: self.address(&[(flag, "numFlags")])?,
            stride: self.0.size(flag)?,
            name: self.offset(&[(flag, "_name")])?,
            address: self.offset(&[(flag, "_addr")])?,
        })
    }

    fn fields(&self) -> Option<FieldsPlace> {
        match self.offset(&[("InstanceKlass", "_fieldinfo_stream")]) {
            Some(stream) => Some(FieldsPlace::Stream(stream)),
            None => Some(FieldsPlace::Words {
                fields: self.offset(&[("InstanceKlass", "_fields")])?,
                count: self.offset(&[("InstanceKlass", "_java_fields_count")])?,
            }),
        }
    }

    fn colour(&self, class: &str, mask: &str, is_shifted: bool) -> Option<ColourPlace> {
        Some(ColourPlace {
            table: self.address(&[(class, "_instance_p")])?,
            bad_mask: self.offset(&[(class, mask)])?,
            is_shifted,
        })
    }

    fn collections(&self) -> Option<CollectionsPlace> {
        let active = ["_is_stw_gc_active", "_is_gc_active"].map(|name| ("CollectedHeap", name));
        Some(CollectionsPlace {
            heap: self.address(&[("Universe", "_collectedHeap")])?,
            active: self.offset(&active)?,
            total: self.offset(&[("CollectedHeap", "_total_collections")])?,
        })
    }
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
