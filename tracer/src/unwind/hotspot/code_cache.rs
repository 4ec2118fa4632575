//! The code cache: from an address to the code blob that it lies in.
//!
//! A heap's segment map has one byte per 128-byte segment: 0 where a block begins, 0xff where nothing is, else how many
//! segments back to hop; long blocks take several hops.

use crate::unwind::memory::{Memory, Unreadable};

use super::UnsupportedJvm;
use super::layout::{CodeCacheLayout, Heaps};

/// Three in today's JVMs, four in coming ones.
const MAX_HEAPS: u32 = 16;
/// Segments are 64 bytes to 8 KiB in any build.
const SEGMENT_SHIFTS: std::ops::RangeInclusive<u32> = 6..=13;
/// Bytes of the segment map that are read at once: a hop goes back by 254 segments at most.
const WINDOW: u64 = 256;
/// Windows looked at for one address. The largest block, the interpreter, spans about ten.
const MAX_WINDOWS: usize = 256;
/// Hops of which one may be where a freed block began: a blob has one for each 254 segments, each join adds one.
const MAX_HOPS: usize = 64;

const FREE: u8 = 0xff;

/// The heaps of the code cache, as they are reserved: that does not change while the process lives.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CodeCache {
    heaps: Vec<CodeHeap>,
    low: u64,
    high: u64,
    block_size: u64,
    block_used: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct CodeHeap {
    /// Where the first block begins.
    low: u64,
    start: u64,
    end: u64,
    segmap: u64,
    shift: u32,
}

impl CodeCache {
    /// # Errors
    /// `Starting` before the heaps are reserved, `BadTables` where they make no sense.
    pub fn read(memory: &impl Memory, layout: &CodeCacheLayout) -> Result<Self, UnsupportedJvm> {
        let heaps = heap_addresses(memory, &layout.heaps)?;
        let heaps: Result<Vec<_>, _> = heaps
            .into_iter()
            .map(|address| CodeHeap::read(memory, layout, address))
            .collect();
        let heaps = heaps.map_err(|_| UnsupportedJvm::BadTables("code heaps"))?;
        let low = heaps
            .iter()
            .map(|heap| heap.start)
            .min()
            .ok_or(UnsupportedJvm::Starting)?;
        let high = heaps
            .iter()
            .map(|heap| heap.end)
            .max()
            .ok_or(UnsupportedJvm::Starting)?;
        Ok(CodeCache {
            heaps,
            low,
            high,
            block_size: layout.block_size,
            block_used: layout.block_used,
        })
    }

    pub fn contains(&self, address: u64) -> bool {
        (self.low..self.high).contains(&address) && self.heap(address).is_some()
    }

    /// Where it says whether the block of the blob at `blob` is in use.
    ///
    /// # Errors
    /// No blob is there.
    pub fn used(&self, blob: u64) -> Result<u64, Unreadable> {
        let block = blob.checked_sub(self.block_size).ok_or(Unreadable)?;
        block.checked_add(self.block_used).ok_or(Unreadable)
    }

    /// The lowest address that is reserved for code.
    pub fn low(&self) -> u64 {
        self.low
    }

    /// The address of the blob that `address` lies in; `None` where no block is in use.
    ///
    /// # Errors
    /// The segment map can't be read or makes no sense.
    pub fn blob(&self, memory: &impl Memory, address: u64) -> Result<Option<u64>, Unreadable> {
        let block = self.block(memory, address, |_| ())?;
        Ok(block.and_then(|(blob, used)| used.then_some(blob)))
    }

    /// Where the blob may have begun that was last where `address` lies, in a block that is free now. Freeing writes a
    /// link over the first word behind the block's header and leaves the rest until the block is used again; joining it
    /// with the block before makes its first segment hop there (`CodeHeap`, JDK 11 to 25). So each segment on the way
    /// may be the one. What is found there may be anything, and has to prove itself.
    ///
    /// # Errors
    /// As [`CodeCache::blob`].
    pub fn freed(&self, memory: &impl Memory, address: u64) -> Result<Vec<u64>, Unreadable> {
        let mut visited = Vec::new();
        let block = self.block(memory, address, |segment| {
            if visited.len() < MAX_HOPS {
                visited.push(segment);
            }
        })?;
        let heap = self
            .heap(address)
            .filter(|_| block.is_some_and(|(_, used)| !used));
        let begins = heap.into_iter().flat_map(|heap| {
            let blob = |segment: u64| {
                heap.low
                    .checked_add(segment << heap.shift)?
                    .checked_add(self.block_size)
            };
            visited.iter().filter_map(move |&segment| blob(segment))
        });
        Ok(begins.collect())
    }

    /// What follows the header of the block around `address`, and whether the block is in use. `visit` is told the
    /// segments on the way to its first one, which is the last of them.
    fn block(
        &self,
        memory: &impl Memory,
        address: u64,
        visit: impl FnMut(u64),
    ) -> Result<Option<(u64, bool)>, Unreadable> {
        let Some(heap) = self.heap(address) else {
            return Ok(None);
        };
        let Some(segment) = heap.first_segment(memory, address, visit)? else {
            return Ok(None);
        };
        let block = heap
            .low
            .checked_add(segment << heap.shift)
            .ok_or(Unreadable)?;
        let used = memory.read_u8(block.checked_add(self.block_used).ok_or(Unreadable)?)? != 0;
        Ok(block.checked_add(self.block_size).map(|blob| (blob, used)))
    }

    fn heap(&self, address: u64) -> Option<&CodeHeap> {
        self.heaps
            .iter()
            .find(|heap| (heap.start..heap.end).contains(&address))
    }
}

impl CodeHeap {
    fn read(
        memory: &impl Memory,
        layout: &CodeCacheLayout,
        address: u64,
    ) -> Result<Self, Unreadable> {
        let word = |offset: u64| memory.read_u64(address.checked_add(offset).ok_or(Unreadable)?);
        let heap = CodeHeap {
            low: word(layout.memory + layout.space_low)?,
            start: word(layout.memory + layout.space_low_boundary)?,
            end: word(layout.memory + layout.space_high_boundary)?,
            segmap: word(layout.segmap + layout.space_low)?,
            shift: memory.read_u32(
                address
                    .checked_add(layout.log2_segment_size)
                    .ok_or(Unreadable)?,
            )?,
        };
        let sound = heap.start < heap.end
            && heap.low >= heap.start
            && heap.low < heap.end
            && heap.segmap != 0;
        if sound && SEGMENT_SHIFTS.contains(&heap.shift) {
            Ok(heap)
        } else {
            Err(Unreadable)
        }
    }

    /// The segment where the block around `address` begins.
    fn first_segment(
        &self,
        memory: &impl Memory,
        address: u64,
        mut visit: impl FnMut(u64),
    ) -> Result<Option<u64>, Unreadable> {
        let Some(offset) = address.checked_sub(self.low) else {
            return Ok(None);
        };
        let mut segment = offset >> self.shift;
        for _ in 0..MAX_WINDOWS {
            let first = segment.saturating_sub(WINDOW - 1);
            let at = self.segmap.checked_add(first).ok_or(Unreadable)?;
            let window = memory.read_vec(at, (segment - first + 1) as usize)?;
            while let Some(&hop) = segment
                .checked_sub(first)
                .and_then(|index| window.get(index as usize))
            {
                visit(segment);
                match hop {
                    0 => return Ok(Some(segment)),
                    FREE => return Ok(None),
                    hop => segment = segment.checked_sub(u64::from(hop)).ok_or(Unreadable)?,
                }
            }
        }
        Err(Unreadable)
    }
}

fn heap_addresses(memory: &impl Memory, heaps: &Heaps) -> Result<Vec<u64>, UnsupportedJvm> {
    let starting = |_| UnsupportedJvm::Starting;
    let found = match *heaps {
        Heaps::One(address) => vec![memory.read_u64(address).map_err(starting)?],
        Heaps::Array { address, len, data } => {
            let array = memory.read_u64(address).map_err(starting)?;
            let count = memory.read_u32(array.wrapping_add(len)).map_err(starting)?;
            if count > MAX_HEAPS {
                return Err(UnsupportedJvm::BadTables("code heaps"));
            }
            let data = memory
                .read_u64(array.wrapping_add(data))
                .map_err(starting)?;
            let heaps =
                (0..u64::from(count)).map(|index| memory.read_u64(data.wrapping_add(8 * index)));
            heaps.collect::<Result<_, _>>().map_err(starting)?
        }
    };
    if found.is_empty() || found.contains(&0) {
        Err(UnsupportedJvm::Starting)
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::memory::RecordedMemory;

    const LOW: u64 = 0x7000_0000;
    const SEGMAP: u64 = 0x6000_0000;

    /// A heap with a free block, a short block and one of 600 segments.
    fn heap() -> (CodeCache, RecordedMemory) {
        let mut segmap = vec![FREE; 1024];
        segmap[4] = 0;
        segmap[5] = 1;
        for (segment, hop) in segmap.iter_mut().enumerate().skip(100).take(600) {
            *hop = ((segment - 100) % 254) as u8;
        }
        for boundary in [354, 608] {
            segmap[boundary] = 254;
        }
        let mut memory = RecordedMemory::default();
        memory.put(SEGMAP, &segmap);
        memory.put(LOW + 4 * 128 + 8, &[1]);
        memory.put(LOW + 100 * 128 + 8, &[1]);
        let heap = CodeHeap {
            low: LOW,
            start: LOW,
            end: LOW + (1024 << 7),
            segmap: SEGMAP,
            shift: 7,
        };
        (
            CodeCache {
                low: LOW,
                high: heap.end,
                heaps: vec![heap],
                block_size: 16,
                block_used: 8,
            },
            memory,
        )
    }

    /// Every address of a block leads to its blob, by one hop or several; free segments lead to none.
    #[test]
    fn hops() {
        let (cache, memory) = heap();
        let blob = |segment: u64| cache.blob(&memory, LOW + (segment << 7) + 60).unwrap();
        assert_eq!(blob(3), None);
        assert_eq!(blob(4), Some(LOW + 4 * 128 + 16));
        assert_eq!(blob(5), Some(LOW + 4 * 128 + 16));
        for segment in 100..700 {
            assert_eq!(blob(segment), Some(LOW + 100 * 128 + 16), "{segment}");
        }
        assert_eq!(blob(700), None);
        assert_eq!(cache.blob(&memory, LOW - 1), Ok(None));
    }

    /// A block that is marked free is found as such and no other way, and a map that hops out of the heap leads to nothing.
    #[test]
    fn damaged() {
        let (cache, mut memory) = heap();
        memory.put(LOW + 4 * 128 + 8, &[0]);
        assert_eq!(cache.blob(&memory, LOW + 5 * 128), Ok(None));
        let freed = |address| cache.freed(&memory, address);
        let begins = |segment: u64| LOW + segment * 128 + 16;
        assert_eq!(freed(LOW + 5 * 128), Ok(vec![begins(5), begins(4)]));
        assert_eq!(freed(LOW + 101 * 128), Ok(vec![]), "it is in use");
        memory.put(SEGMAP, &[7; 1024]);
        assert_eq!(cache.blob(&memory, LOW + 700 * 128), Err(Unreadable));
        memory.ranges.clear();
        assert_eq!(cache.blob(&memory, LOW + 5 * 128), Err(Unreadable));
    }
}
