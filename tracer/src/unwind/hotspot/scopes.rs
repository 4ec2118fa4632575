//! Debug information of compiled code: which methods, one inlined into the next, a call belongs to.

use std::ops::Range;

use crate::unwind::memory::{Memory, Unreadable};

use super::blob::Nmethod;
use super::unsigned5::Unsigned5;

/// `{i32 pc_offset, i32 scope_decode_offset, i32 obj_decode_offset, i32 flags}` in all JDKs from 8 to 25.
const PC_DESC: u64 = 16;
/// PcDescs of one method that are read; the largest methods have some ten thousand.
const MAX_PC_DESCS: u64 = 4 << 20;
/// Inlining is 15 deep by default, recursion aside.
const MAX_INLINED: usize = 256;
/// Three numbers of up to five bytes.
const SCOPE_BYTES: usize = 15;
/// Metadata of one compiled method.
const MAX_METADATA: u32 = 1 << 20;

/// One method of a compiled frame and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `Method*`.
    pub method: u64,
    /// None at a method's entry (synchronisation) where no bytecode runs.
    pub bci: Option<u16>,
}

/// The scopes at the return address `pc`, innermost first; empty where the compiler recorded none for exactly this
/// address (calls that can't reach a safepoint).
///
/// # Errors
/// The tables can't be read or make no sense.
pub fn at(
    memory: &impl Memory,
    release: u32,
    nmethod: &Nmethod,
    code: &Range<u64>,
    pc: u64,
) -> Result<Vec<Scope>, Unreadable> {
    let pc_offset = pc
        .checked_sub(code.start)
        .and_then(|offset| i32::try_from(offset).ok())
        .ok_or(Unreadable)?;
    let mut offset = scope_offset(memory, &nmethod.pcs, pc_offset)?;
    let mut scopes = Vec::new();
    while offset > 0 && scopes.len() < MAX_INLINED {
        let bytes = memory.read_up_to(nmethod.scopes.wrapping_add(u64::from(offset)), SCOPE_BYTES);
        let mut numbers = Unsigned5::new(&bytes, release);
        let mut number = || numbers.number().ok_or(Unreadable);
        let (sender, method, bci) = (number()?, number()?, number()?);
        // 1-based; 0 is no method.
        let index = method
            .checked_sub(1)
            .filter(|&index| index < MAX_METADATA)
            .ok_or(Unreadable)?;
        let method = memory.read_u64(nmethod.metadata.wrapping_add(8 * u64::from(index)))?;
        // Stored with one added: -1 is the entry.
        let bci = bci.checked_sub(1).and_then(|bci| u16::try_from(bci).ok());
        scopes.push(Scope { method, bci });
        // The caller's scope was written before.
        if sender >= offset {
            return Err(Unreadable);
        }
        offset = sender;
    }
    Ok(scopes)
}

/// Offset of the innermost scope at exactly `pc_offset`; 0 where there is none.
fn scope_offset(memory: &impl Memory, pcs: &Range<u64>, pc_offset: i32) -> Result<u32, Unreadable> {
    let len = pcs
        .end
        .checked_sub(pcs.start)
        .filter(|&len| len <= MAX_PC_DESCS)
        .ok_or(Unreadable)?;
    let bytes = memory.read_vec(pcs.start, (len - len % PC_DESC) as usize)?;
    let (descriptors, _) = bytes.as_chunks::<{ PC_DESC as usize }>();
    let field = |descriptor: &[u8; 16], at: usize| {
        descriptor
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| i32::from_le_bytes(*bytes))
    };
    let found = descriptors.binary_search_by_key(&pc_offset, |descriptor| field(descriptor, 0));
    let offset = found
        .ok()
        .and_then(|index| descriptors.get(index))
        .map_or(0, |descriptor| field(descriptor, 4));
    Ok(u32::try_from(offset).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::memory::RecordedMemory;

    const PCS: u64 = 0x1000;
    const SCOPES: u64 = 0x2000;
    const METADATA: u64 = 0x3000;

    /// A call of method 0xb000, inlined at bytecode 7 into method 0xa000.
    fn nmethod() -> (Nmethod, RecordedMemory) {
        let mut memory = RecordedMemory::default();
        let descriptors: [[i32; 4]; 4] = [
            [-1, 0, 0, 0],
            [0x10, 1, 0, 0],
            [0x20, 4, 0, 0],
            [i32::MAX, 0, 0, 0],
        ];
        let bytes: Vec<u8> = descriptors
            .as_flattened()
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        memory.put(PCS, &bytes);
        memory.put(SCOPES, &[0; 64]);
        memory.put(SCOPES, &[0, /* 1: */ 0, 1, 8, /* 4: */ 1, 2, 0]);
        memory.put(
            METADATA,
            &[0xa000_u64.to_le_bytes(), 0xb000_u64.to_le_bytes()].concat(),
        );
        let nmethod = Nmethod {
            method: 0xa000,
            compile_id: 1,
            level: 4,
            orig_pc_offset: 0,
            deopt_handlers: Vec::new(),
            pcs: PCS..PCS + 64,
            scopes: SCOPES,
            metadata: METADATA,
        };
        (nmethod, memory)
    }

    /// An inlined call gives both methods, innermost first; an address without a descriptor gives none.
    #[test]
    fn inlined() {
        let (nmethod, memory) = nmethod();
        let at = |pc| at(&memory, 17, &nmethod, &(0x9000..0x9100), pc);
        let outer = Scope {
            method: 0xa000,
            bci: Some(7),
        };
        assert_eq!(at(0x9010), Ok(vec![outer]));
        assert_eq!(
            at(0x9020),
            Ok(vec![
                Scope {
                    method: 0xb000,
                    bci: None
                },
                outer
            ])
        );
        assert_eq!(at(0x9018), Ok(vec![]));
    }

    /// A scope whose caller is itself or comes later ends in an error and not in a loop.
    #[test]
    fn circular() {
        let (nmethod, mut memory) = nmethod();
        memory.put(SCOPES + 1, &[1]);
        assert_eq!(
            at(&memory, 17, &nmethod, &(0x9000..0x9100), 0x9010),
            Err(Unreadable)
        );
    }
}
