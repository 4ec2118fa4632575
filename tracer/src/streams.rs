//! What an open zlib stream holds.
//!
//! Where every allocation is recorded, the blocks are found from the stream itself: a `z_stream` points to its state, and
//! the state to its buffers. Otherwise the size is computed from zlib's parameters, and is an estimate.

use std::collections::HashSet;

use crate::functions::Direction;
use crate::unwind::memory::Memory;

/// zlib.h: `state` is the eighth word of `z_stream` on 64-bit machines, in zlib and zlib-ng's compatible mode.
const STATE_OFFSET: u64 = 56;
/// A `z_stream` on 64-bit machines.
const STREAM_BYTES: u64 = 112;
/// `sizeof(struct internal_state)` of deflate.h in zlib 1.2.13, of inflate.h's `inflate_state`.
const DEFLATE_STATE_BYTES: u64 = 5_952;
const INFLATE_STATE_BYTES: u64 = 7_160;
/// The pointers to the buffers are in the first words of the state (deflate.h: `pending_buf`, `window`, `prev`, `head`;
/// inflate.h: `window`; zlib 1.2.3 to 1.3.1). What is behind may never have been written and hold another owner's pointers.
const POINTERS_BYTES: u64 = 128;

/// MAX_WBITS and DEF_MEM_LEVEL of zconf.h: what `deflateInit_` and `inflateInit_` use.
const DEFAULT_WINDOW_BITS: i32 = 15;
const DEFAULT_MEM_LEVEL: i32 = 8;

/// Memory behind a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub bytes: u64,
    /// Malloc blocks; 0 when the size is computed.
    pub blocks: u64,
    pub estimated: bool,
}

/// What the parameters say: zconf.h, (1 << (windowBits + 2)) + (1 << (memLevel + 9)) for deflate and 1 << windowBits for
/// inflate, plus the state and the stream.
pub fn computed(direction: Direction, window_bits: i32, mem_level: i32) -> Held {
    let bits = normalized(window_bits, direction);
    let bytes = match direction {
        Direction::Deflate => {
            let level = if (1..=9).contains(&mem_level) {
                mem_level
            } else {
                DEFAULT_MEM_LEVEL
            };
            STREAM_BYTES + DEFLATE_STATE_BYTES + (1u64 << (bits + 2)) + (1u64 << (level + 9))
        }
        Direction::Inflate => STREAM_BYTES + INFLATE_STATE_BYTES + (1u64 << bits),
    };
    Held {
        bytes,
        blocks: 0,
        estimated: true,
    }
}

/// windowBits carries the format too: negative is raw, +16 gzip, +32 detected; 0 lets inflate take the header's.
fn normalized(window_bits: i32, direction: Direction) -> u32 {
    let bits = match window_bits {
        i32::MIN..=-1 => window_bits.saturating_neg(),
        32.. => window_bits - 32,
        16.. => window_bits - 16,
        _ => window_bits,
    };
    match (bits, direction) {
        (8, Direction::Deflate) => 9,
        (8..=15, _) => bits as u32,
        _ => DEFAULT_WINDOW_BITS as u32,
    }
}

/// The stream's blocks among the outstanding ones (`size_of`: address to requested bytes); none when the state is not one
/// of them.
pub fn found(
    stream: u64,
    memory: &impl Memory,
    size_of: impl Fn(u64) -> Option<u64>,
) -> Option<Held> {
    let state = word(memory, stream.checked_add(STATE_OFFSET)?)?;
    let state_size = size_of(state)?;
    let mut content = vec![0u8; (state_size.min(POINTERS_BYTES) / 8 * 8) as usize];
    memory.read(state, &mut content).ok()?;
    let words = content
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let mut blocks: HashSet<u64> = words.filter(|&word| size_of(word).is_some()).collect();
    blocks.extend([stream, state]);
    let sizes = || blocks.iter().filter_map(|&address| size_of(address));
    Some(Held {
        bytes: sizes().sum(),
        blocks: sizes().count() as u64,
        estimated: false,
    })
}

/// Whether the stream was ever set up: an `Init` that fails leaves no state.
pub fn is_open(stream: u64, memory: &impl Memory) -> Option<bool> {
    word(memory, stream.checked_add(STATE_OFFSET)?).map(|state| state != 0)
}

fn word(memory: &impl Memory, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory.read(address, &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::unwind::memory::Unreadable;

    struct Words(HashMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
            for (index, chunk) in buf.chunks_mut(8).enumerate() {
                let word = self
                    .0
                    .get(&(address + 8 * index as u64))
                    .copied()
                    .unwrap_or(0);
                chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            }
            Ok(())
        }
    }

    /// The default Deflater of zlib 1.2.13 asks for 268,208 bytes: the parameters say the same.
    #[test]
    fn parameters_give_the_size_of_a_default_deflater() {
        assert_eq!(computed(Direction::Deflate, 15, 8).bytes, 268_208);
        assert_eq!(computed(Direction::Deflate, -15, 8).bytes, 268_208, "raw");
        assert_eq!(computed(Direction::Deflate, 31, 8).bytes, 268_208, "gzip");
        assert_eq!(
            computed(Direction::Deflate, 0, 0).bytes,
            268_208,
            "defaults"
        );
    }

    /// No parameters, however wrong, make it panic.
    #[test]
    fn wrong_parameters_are_survived() {
        for bits in [i32::MIN, -16, -1, 0, 7, 16, 47, 48, i32::MAX] {
            for level in [i32::MIN, -1, 0, 10, i32::MAX] {
                assert!(computed(Direction::Deflate, bits, level).bytes < 1 << 20);
                assert!(computed(Direction::Inflate, bits, level).bytes < 1 << 20);
            }
        }
    }

    /// The blocks are the stream, its state, and what the state points to, each once.
    #[test]
    fn blocks_are_found_through_the_state() {
        let (stream, state) = (0x1000, 0x2000);
        let sizes = HashMap::from([
            (stream, 112),
            (state, 64),
            (0x3000, 65_536),
            (0x4000, 101),
            (0x5000, 7),
        ]);
        let memory = Words(HashMap::from([
            (stream + STATE_OFFSET, state),
            (state, stream),
            (state + 8, 0x3000),
            (state + 16, 0x3000),
            (state + 24, 0x4000),
        ]));
        let held = found(stream, &memory, |address| sizes.get(&address).copied());
        assert_eq!(
            held,
            Some(Held {
                bytes: 112 + 64 + 65_536 + 101,
                blocks: 4,
                estimated: false
            })
        );
        assert_eq!(
            found(stream, &memory, |_| None),
            None,
            "the state is not tracked"
        );
    }
}
