//! UNSIGNED5, HotSpot's compressed integers (`utilities/unsigned5.hpp`).
//!
//! Up to five bytes; a byte of 192 or more says that another one follows. Since JDK 20 no byte is zero: all values are
//! one higher.

/// Bytes whose value is at least this are not the last.
const CONTINUES: u32 = 192;
const MAX_BYTES: usize = 5;

/// The release that excluded zero bytes.
pub const EXCLUDES_ZERO: u32 = 20;

/// Reads numbers from bytes; `None` at their end.
pub struct Unsigned5<'a> {
    bytes: &'a [u8],
    excluded: u32,
}

impl<'a> Unsigned5<'a> {
    pub fn new(bytes: &'a [u8], release: u32) -> Self {
        Unsigned5 {
            bytes,
            excluded: u32::from(release >= EXCLUDES_ZERO),
        }
    }

    pub fn number(&mut self) -> Option<u32> {
        let mut sum = 0_u32;
        for index in 0..MAX_BYTES {
            let byte = u32::from(self.byte()?);
            sum = sum.wrapping_add(byte.wrapping_sub(self.excluded) << (6 * index));
            if byte < CONTINUES {
                break;
            }
        }
        Some(sum)
    }

    /// A signed number: its sign is in the lowest bit.
    pub fn signed_number(&mut self) -> Option<i32> {
        let value = self.number()?;
        Some((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// A plain byte between the numbers.
    pub fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(mut value: u32, excluded: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let low = CONTINUES - excluded;
            if value < low || bytes.len() == MAX_BYTES - 1 {
                bytes.push((value + excluded) as u8);
                return bytes;
            }
            value -= low;
            bytes.push((CONTINUES + (value & 63)) as u8);
            value >>= 6;
        }
    }

    /// Numbers of all lengths come back as they were written, in both forms.
    #[test]
    fn round_trip() {
        for release in [17, 21] {
            let excluded = u32::from(release >= EXCLUDES_ZERO);
            for value in [
                0,
                1,
                100,
                190,
                191,
                192,
                193,
                12_287,
                12_480,
                1 << 20,
                1 << 26,
                u32::MAX / 2,
            ] {
                let bytes = encode(value, excluded);
                assert_eq!(
                    Unsigned5::new(&bytes, release).number(),
                    Some(value),
                    "{value} {bytes:?}"
                );
            }
        }
    }

    /// Signed numbers alternate around zero; an end inside of a number is an end.
    #[test]
    fn signs_and_ends() {
        let mut numbers = Unsigned5::new(&[0, 1, 2, 3, 200], 17);
        assert_eq!(
            [(); 4].map(|()| numbers.signed_number()),
            [Some(0), Some(-1), Some(1), Some(-2)]
        );
        assert_eq!(numbers.number(), None);
    }
}
