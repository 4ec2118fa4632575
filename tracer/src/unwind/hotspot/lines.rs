//! Compressed line tables: from a bytecode index to a source line.

use super::unsigned5::Unsigned5;

/// A method has at most 64 KiB of bytecode, and so at most as many entries that mean anything.
const MAX_ENTRIES: usize = 1 << 16;
/// Says that bytecode index and line follow as full numbers.
const ESCAPE: u8 = 0xff;

/// Bytecode indexes and the lines that begin there, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineTable(Vec<(u16, u16)>);

impl LineTable {
    /// Decodes the bytes behind a method's bytecode. The second value says whether the table's end was in them; where
    /// it was not, more bytes may say more.
    pub fn decode(bytes: &[u8], release: u32) -> (Self, bool) {
        let mut entries = Vec::new();
        let (mut bci, mut line) = (0_i32, 0_i32);
        let mut input = Unsigned5::new(bytes, release);
        let mut complete = false;
        while let Some(byte) = input.byte() {
            let (bci_step, line_step) = match byte {
                0 => {
                    complete = true;
                    break;
                }
                ESCAPE => match (input.signed_number(), input.signed_number()) {
                    (Some(bci_step), Some(line_step)) => (bci_step, line_step),
                    _ => break,
                },
                packed => (i32::from(packed >> 3), i32::from(packed & 7)),
            };
            bci = bci.wrapping_add(bci_step);
            line = line.wrapping_add(line_step);
            let (Ok(bci), Ok(line)) = (u16::try_from(bci), u16::try_from(line)) else {
                complete = true;
                break;
            };
            entries.push((bci, line));
            if entries.len() >= MAX_ENTRIES {
                complete = true;
                break;
            }
        }
        // Compilers may state lines out of order; of two lines for one index the later one counts.
        entries.sort_by_key(|&(bci, _)| bci);
        (LineTable(entries), complete)
    }

    /// The line that `bci` belongs to; 0 where that is not known.
    pub fn line(&self, bci: u16) -> u32 {
        let after = self.0.partition_point(|&(start, _)| start <= bci);
        after
            .checked_sub(1)
            .and_then(|index| self.0.get(index))
            .map_or(0, |&(_, line)| u32::from(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packed and escaped entries give the line at, between and after their indexes.
    #[test]
    fn lookup() {
        // (0, 10) escaped: +0 and +10; (4, 12) packed: +4, +2; (9, 11) escaped: +5, -1.
        let bytes = [0xff, 0, 20, (4 << 3) | 2, 0xff, 10, 1, 0];
        let (table, complete) = LineTable::decode(&bytes, 17);
        assert!(complete);
        assert!(!LineTable::decode(&bytes[..4], 17).1);
        assert_eq!(
            [0, 3, 4, 8, 9, 60_000].map(|bci| table.line(bci)),
            [10, 10, 12, 12, 11, 11]
        );
        assert_eq!(LineTable::default().line(3), 0);
    }

    /// Any bytes decode to some table without a panic.
    #[test]
    fn nonsense() {
        for seed in 0..=255_u8 {
            let bytes: Vec<_> = (0..400_u32)
                .map(|index| (index as u8).wrapping_mul(seed) ^ (index >> 3) as u8)
                .collect();
            LineTable::decode(&bytes, 17).0.line(u16::MAX);
            LineTable::decode(&bytes, 25).0.line(0);
        }
    }
}
