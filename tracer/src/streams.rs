//! What an open zlib stream holds.
//!
//! Where every allocation is recorded, the blocks are found from the stream itself: a `z_stream` points to its state, and
//! the state to its buffers. Otherwise the size is computed from zlib's parameters, and is an estimate.

use crate::functions::Direction;
use crate::unwind::memory::Memory;

/// zlib.h: `state` is the eighth word of `z_stream` on 64-bit machines, in zlib and zlib-ng's compatible mode.
const STATE_OFFSET: u64 = 56;
/// A `z_stream` on 64-bit machines.
const STREAM_BYTES: u64 = 112;
/// `sizeof(struct internal_state)` of deflate.h in zlib 1.2.13, of inflate.h's `inflate_state`.
const DEFLATE_STATE_BYTES: u64 = 5_952;
const INFLATE_STATE_BYTES: u64 = 7_160;
/// Where a state points to its buffers, in bytes: `pending_buf`, `window`, `prev` and `head` of deflate.h, `window` of
/// inflate.h; zlib 1.2.9 (2017) to 1.3.1. Nothing else of it is looked at: much of a state is never written, and holds
/// the pointers of whoever had that memory before.
const DEFLATE_BUFFERS: [usize; 4] = [16, 96, 112, 120];
const INFLATE_BUFFERS: [usize; 1] = [72];
/// The part of a state that these are in.
const STATE_HEAD: usize = 128;

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
        Direction::InflateBack => STREAM_BYTES + INFLATE_STATE_BYTES,
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

/// The stream's blocks among the outstanding ones (`size_of`: address to requested bytes); none when they are not all
/// there, or the state is not laid out as zlib's.
pub fn found(
    stream: u64,
    direction: Direction,
    memory: &impl Memory,
    size_of: impl Fn(u64) -> Option<u64>,
) -> Option<Held> {
    let state = word(memory, stream.checked_add(STATE_OFFSET)?)?;
    size_of(state).filter(|&size| size >= STATE_HEAD as u64)?;
    let mut head = [0u8; STATE_HEAD];
    memory.read(state, &mut head).ok()?;
    let at = |offset: usize| {
        Some(u64::from_le_bytes(
            head.get(offset..offset + 8)?.try_into().ok()?,
        ))
    };
    // Since 1.2.9 the states begin with a pointer back to the stream, but for the one of inflateBack, which leaves it out.
    if at(0) != Some(stream) && direction != Direction::InflateBack {
        return None;
    }
    let buffers = match direction {
        Direction::Deflate => &DEFLATE_BUFFERS[..],
        Direction::Inflate => &INFLATE_BUFFERS[..],
        Direction::InflateBack => &[],
    };
    let mut held = Held {
        bytes: size_of(state)?,
        blocks: 1,
        estimated: false,
    };
    // The JDK's JNI library allocates the stream itself; other programs keep it in a block of theirs.
    if let Some(size) = size_of(stream).filter(|&size| size == STREAM_BYTES) {
        held.bytes += size;
        held.blocks += 1;
    }
    for buffer in buffers.iter().map(|&offset| at(offset)) {
        // inflate takes its window when it is first needed.
        if buffer? != 0 {
            held.bytes += size_of(buffer?)?;
            held.blocks += 1;
        }
    }
    Some(held)
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

    /// The blocks are the stream, its state, and its buffers; stale pointers elsewhere in the state are none of them.
    #[test]
    fn blocks_are_found_through_the_state() {
        let (stream, state) = (0x1000, 0x2000);
        let sizes = HashMap::from([
            (stream, 112),
            (state, 5_952),
            (0x3000, 65_536),
            (0x4000, 65_521),
            (0x5000, 65_519),
            (0x6000, 65_497),
            (0x7000, 7),
        ]);
        let words = HashMap::from([
            (stream + STATE_OFFSET, state),
            (state, stream),
            (state + 16, 0x3000),
            (state + 64, 0x7000),
            (state + 96, 0x4000),
            (state + 112, 0x5000),
            (state + 120, 0x6000),
        ]);
        let size_of = |address| sizes.get(&address).copied();
        let deflate = found(stream, Direction::Deflate, &Words(words.clone()), size_of);
        let bytes = 112 + 5_952 + 65_536 + 65_521 + 65_519 + 65_497;
        assert_eq!(
            deflate,
            Some(Held {
                bytes,
                blocks: 6,
                estimated: false
            })
        );
        let inflate = found(stream, Direction::Inflate, &Words(words), size_of);
        assert_eq!(
            inflate,
            Some(Held {
                bytes: 112 + 5_952,
                blocks: 2,
                estimated: false
            }),
            "no window yet"
        );
    }

    /// Without its state or a buffer among the blocks, or with another layout, the size is not claimed to be known.
    #[test]
    fn what_is_not_found_is_not_counted() {
        let (stream, state) = (0x1000, 0x2000);
        let words = HashMap::from([
            (stream + STATE_OFFSET, state),
            (state, stream),
            (state + 72, 0x3000),
        ]);
        let memory = Words(words.clone());
        assert_eq!(
            found(stream, Direction::Inflate, &memory, |_| None),
            None,
            "the state is not tracked"
        );
        let state_alone = |address| (address == state).then_some(7_160);
        assert_eq!(
            found(stream, Direction::Inflate, &memory, state_alone),
            None,
            "the window is not tracked"
        );
        let elsewhere = Words(HashMap::from([
            (stream + STATE_OFFSET, state),
            (state, 0x9000),
        ]));
        assert_eq!(
            found(stream, Direction::Inflate, &elsewhere, |_| Some(7_160)),
            None,
            "another layout"
        );
    }
}
