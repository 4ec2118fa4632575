//! Where the fields of a class are in its objects, as the class itself describes them.

use crate::unwind::hotspot::layout::{MAX_STRUCT, MethodLayout};
use crate::unwind::hotspot::names;
use crate::unwind::hotspot::unsigned5::Unsigned5;
use crate::unwind::memory::Memory;

use super::places::{FieldsPlace, HeapPlaces};

/// Fields of one class that are looked at; `java.lang.Thread` has about forty, static ones included.
const MAX_FIELDS: usize = 256;
/// Bytes that describe the fields of one class.
const MAX_FIELD_BYTES: usize = 1 << 13;

impl HeapPlaces {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
