//! Records of the ring as typed events. Bytes that are no record give `None`, never a panic.

use bytes::Bytes;
use tracer_common::config::PAGE;
use tracer_common::event::{
    ANCHOR_WORDS, Captured, FLAG_AT_RETURN, FLAG_REPLACED, FLAG_SPILLED, FLAG_STACK_LOST,
    FLAG_TRUNCATED, Freed, Header, REPLACED, ReplacedReturn, kind,
};

/// Names one allocation: an address is handed out again only after it was freed, at a later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllocationKey {
    pub address: u64,
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
}

/// What the target did.
#[derive(Clone, Debug)]
pub enum Event {
    Allocated(Allocation),
    Mapped {
        protection: u32,
        region: Allocation,
    },
    Remapped {
        old_address: u64,
        old_length: u64,
        keeps_old: bool,
        region: Allocation,
    },
    Opened {
        stream: Allocation,
        window_bits: i32,
        mem_level: i32,
        replaced: Option<u64>,
    },
    /// An object of a pair of functions was opened; which pair, its attach point says.
    ObjectOpened {
        object: Allocation,
        replaced: Option<u64>,
    },
    /// A page became resident.
    Faulted(Allocation),
    Freed(End),
    /// A block that the kernel does not track, after its map had been full.
    FreedUnknown(End),
    Closed {
        end: End,
        comm: [u8; 16],
    },
    Unmapped {
        address: u64,
        length: u64,
        /// Nanoseconds of the monotonic clock.
        now: u64,
    },
}

impl Event {
    /// The allocation whose stack it carries.
    pub fn made(&self) -> Option<&Allocation> {
        match self {
            Event::Allocated(made) if made.stack_lost => None,
            Event::Allocated(made)
            | Event::Mapped { region: made, .. }
            | Event::Remapped { region: made, .. }
            | Event::Opened { stream: made, .. }
            | Event::ObjectOpened { object: made, .. }
            | Event::Faulted(made) => Some(made),
            Event::Freed(_)
            | Event::FreedUnknown(_)
            | Event::Closed { .. }
            | Event::Unmapped { .. } => None,
        }
    }
}

/// A block, region or stream, with the stack that made it.
#[derive(Clone, Debug)]
pub struct Allocation {
    pub key: AllocationKey,
    /// Requested bytes.
    pub size: u64,
    /// Index of the attach point.
    pub point: u32,
    /// Of a block: which of the run's sampling intervals it was chosen under.
    pub level: u16,
    /// Thread, as the kernel's first namespace numbers it.
    pub tid: u32,
    /// Name of the thread, with zeroes behind it.
    pub comm: [u8; 16],
    /// The kernel's map had no room for it.
    pub spilled: bool,
    /// There was no room for its stack, which is empty.
    pub stack_lost: bool,
    pub stack: RawStack,
}

/// What the kernel copied of a stack.
#[derive(Clone, Debug)]
pub struct RawStack {
    pub ip: u64,
    pub sp: u64,
    pub fp: u64,
    pub lr: u64,
    /// `ip` is a return address.
    pub at_return: bool,
    /// The stack is known to be longer than the cap.
    pub truncated: bool,
    /// Innermost first; unused ones are zero.
    pub replaced: [ReplacedReturn; REPLACED],
    /// The first words of the thread's `JavaFrameAnchor`; None where the programs did not know it.
    pub anchor: Option<[u64; ANCHOR_WORDS]>,
    /// From `sp` upwards.
    pub bytes: Bytes,
    /// Pages of them that could not be read, as bits from that of `sp` on.
    pub missing: u16,
}

/// The end of an allocation.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub key: AllocationKey,
    pub size: u64,
    /// Attach point of the freeing function.
    pub point: u32,
    /// As in [`Allocation`].
    pub level: u16,
    pub tid: u32,
    /// Nanoseconds of the monotonic clock.
    pub now: u64,
}

/// `MREMAP_DONTUNMAP` of linux/mman.h: the old mapping stays, empty.
const MREMAP_DONTUNMAP: u64 = 4;

/// Copies what is used of a record out of the ring: later stages share these bytes.
pub fn copy_used(record: &[u8]) -> Bytes {
    let used = match read::<Captured>(record) {
        Some(captured) if is_captured(captured.header.kind) => {
            size_of::<Captured>() + captured.pages as usize * PAGE as usize
        }
        _ => size_of::<Freed>(),
    };
    Bytes::copy_from_slice(&record[..used.min(record.len())])
}

/// Whether a record tells of something that userspace alone keeps.
pub fn is_spilled(record: &[u8]) -> bool {
    let header = read::<Header>(record);
    header.is_some_and(|header| header.flags & FLAG_SPILLED != 0)
}

/// Whether a record is of a block, and carries its stack.
pub fn has_stack(record: &[u8]) -> bool {
    let is_block =
        |header: Header| header.kind == kind::ALLOCATED && header.flags & FLAG_STACK_LOST == 0;
    read::<Header>(record).is_some_and(is_block)
}

/// What is left of a record for which there is no more room than that; None where userspace needs nothing of it.
pub fn without_stack(record: &[u8]) -> Option<Bytes> {
    let Some(mut captured) = read::<Captured>(record) else {
        return Some(copy_used(record));
    };
    match captured.header.kind {
        // The kernel's map has it.
        kind::ALLOCATED if captured.header.flags & FLAG_SPILLED == 0 => None,
        kind::ALLOCATED => {
            captured.header.flags |= FLAG_STACK_LOST;
            (captured.pages, captured.missing) = (0, 0);
            Some(Bytes::copy_from_slice(bytes_of(&captured)))
        }
        _ => Some(copy_used(record)),
    }
}

/// Reads one record.
pub fn parse(record: Bytes) -> Option<Event> {
    let header = read::<Header>(&record)?;
    if is_captured(header.kind) {
        return parse_captured(record);
    }
    let freed = read::<Freed>(&record)?;
    let key = AllocationKey {
        address: header.address,
        time: header.time,
    };
    let end = End {
        key,
        size: header.size,
        point: header.point,
        level: header.level,
        tid: header.tid,
        now: freed.now,
    };
    match header.kind {
        kind::FREED => Some(Event::Freed(end)),
        kind::FREED_UNKNOWN => Some(Event::FreedUnknown(end)),
        kind::CLOSED => Some(Event::Closed {
            end,
            comm: freed.comm,
        }),
        kind::UNMAPPED => Some(Event::Unmapped {
            address: header.address,
            length: header.size,
            now: freed.now,
        }),
        _ => None,
    }
}

fn is_captured(kind: u32) -> bool {
    matches!(
        kind,
        kind::ALLOCATED
            | kind::MAPPED
            | kind::REMAPPED
            | kind::OPENED
            | kind::FAULTED
            | kind::OBJECT
    )
}

fn parse_captured(record: Bytes) -> Option<Event> {
    let captured = read::<Captured>(&record)?;
    let [first, second, third] = captured.arguments;
    let allocation = allocation(&captured, record);
    match captured.header.kind {
        kind::ALLOCATED => Some(Event::Allocated(allocation)),
        kind::FAULTED => Some(Event::Faulted(allocation)),
        kind::OBJECT => Some(Event::ObjectOpened {
            object: allocation,
            replaced: (captured.header.flags & FLAG_REPLACED != 0).then_some(third),
        }),
        kind::MAPPED => Some(Event::Mapped {
            protection: first as u32,
            region: allocation,
        }),
        kind::REMAPPED => Some(Event::Remapped {
            old_address: first,
            old_length: second,
            keeps_old: third & MREMAP_DONTUNMAP != 0,
            region: allocation,
        }),
        kind::OPENED => Some(Event::Opened {
            stream: allocation,
            window_bits: first as i32,
            mem_level: second as i32,
            replaced: (captured.header.flags & FLAG_REPLACED != 0).then_some(third),
        }),
        _ => None,
    }
}

fn allocation(captured: &Captured, record: Bytes) -> Allocation {
    let header = captured.header;
    Allocation {
        key: AllocationKey {
            address: header.address,
            time: header.time,
        },
        size: header.size,
        point: header.point,
        level: header.level,
        tid: header.tid,
        comm: captured.comm,
        spilled: header.flags & FLAG_SPILLED != 0,
        stack_lost: header.flags & FLAG_STACK_LOST != 0,
        stack: RawStack {
            ip: captured.ip,
            sp: captured.sp,
            fp: captured.fp,
            lr: captured.lr,
            at_return: header.flags & FLAG_AT_RETURN != 0,
            truncated: header.flags & FLAG_TRUNCATED != 0,
            replaced: captured.replaced,
            anchor: (captured.has_anchor == 1).then_some(captured.anchor),
            bytes: stack_bytes(captured, record),
            missing: captured.missing,
        },
    }
}

/// The copied pages begin with the one that `sp` is in; what is below `sp` was not copied.
fn stack_bytes(captured: &Captured, record: Bytes) -> Bytes {
    let start = size_of::<Captured>() + (captured.sp % PAGE) as usize;
    let end = size_of::<Captured>() + captured.pages as usize * PAGE as usize;
    match start < end && end <= record.len() {
        true => record.slice(start..end),
        false => Bytes::new(),
    }
}

/// The struct at the start of `bytes`.
fn read<T: Record>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: `bytes` is as long as `T`, and `Record` types are valid for every bit pattern.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Plain structs of the contract with the BPF side.
///
/// # Safety
/// Valid for every bit pattern.
unsafe trait Record: Copy {}
// SAFETY: integers only.
unsafe impl Record for Header {}
// SAFETY: integers only.
unsafe impl Record for Captured {}
// SAFETY: integers only.
unsafe impl Record for Freed {}

fn bytes_of<T: Record>(value: &T) -> &[u8] {
    let pointer = (value as *const T).cast::<u8>();
    // SAFETY: the structs of the contract have no padding, so that every byte is initialised.
    unsafe { std::slice::from_raw_parts(pointer, size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn captured(pages: u16, sp: u64) -> Vec<u8> {
        let header = Header {
            kind: kind::ALLOCATED,
            size: 97,
            address: 0x1000,
            time: 7,
            ..Header::default()
        };
        let mut record = bytes_of(&Captured {
            header,
            sp,
            pages,
            ..Captured::default()
        })
        .to_vec();
        record.extend((0..2 * PAGE as usize).map(|i| i as u8));
        record
    }

    /// The stack begins at the stack pointer and ends with the copied pages.
    #[test]
    fn stack_bytes_begin_at_the_stack_pointer() {
        let Some(Event::Allocated(block)) = parse(copy_used(&captured(2, 0x7000_0ff8))) else {
            panic!("no event")
        };
        assert_eq!(
            (block.key, block.size),
            (
                AllocationKey {
                    address: 0x1000,
                    time: 7
                },
                97
            )
        );
        assert_eq!(block.stack.bytes.len(), PAGE as usize + 8);
        assert_eq!(block.stack.bytes[0], 0xf8);
    }

    /// A record whose pages could not be copied is an allocation with an empty stack.
    #[test]
    fn an_empty_copy_is_an_empty_stack() {
        let Some(Event::Allocated(block)) = parse(copy_used(&captured(0, 0x7000_0ff8))) else {
            panic!("no event")
        };
        assert!(block.stack.bytes.is_empty());
    }

    /// Without room for its stack a block is only kept where the kernel could not keep it: by its record, which says so.
    #[test]
    fn what_is_left_without_a_stack() {
        let mut record = captured(2, 0x7000_0ff8);
        assert_eq!(without_stack(&record), None, "the kernel has it");
        let mut header = read::<Header>(&record).unwrap();
        header.flags |= FLAG_SPILLED;
        record[..size_of::<Header>()].copy_from_slice(bytes_of(&header));
        let left = without_stack(&record).expect("nobody else has it");
        assert_eq!(left.len(), size_of::<Captured>());
        let Some(Event::Allocated(block)) = parse(left) else {
            panic!("no event")
        };
        assert!(block.spilled && block.stack_lost && block.stack.bytes.is_empty());
        header.kind = kind::FREED;
        record[..size_of::<Header>()].copy_from_slice(bytes_of(&header));
        assert_eq!(without_stack(&record).unwrap().len(), size_of::<Freed>());
    }

    /// A freed block is named by its address and the time of its allocation.
    #[test]
    fn ends_name_their_allocation() {
        let header = Header {
            kind: kind::FREED,
            address: 0x2000,
            time: 11,
            size: 101,
            ..Header::default()
        };
        let record = bytes_of(&Freed {
            header,
            now: 13,
            comm: [0; 16],
        })
        .to_vec();
        let Some(Event::Freed(end)) = parse(copy_used(&record)) else {
            panic!("no event")
        };
        assert_eq!(
            (end.key, end.size, end.now),
            (
                AllocationKey {
                    address: 0x2000,
                    time: 11
                },
                101,
                13
            )
        );
    }

    proptest! {
        /// No bytes make the parser panic.
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..512), kind in 0u32..12) {
            if bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = parse(copy_used(&bytes));
        }
    }
}
