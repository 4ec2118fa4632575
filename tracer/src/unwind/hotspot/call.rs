//! Calls in generated code.

use crate::unwind::memory::Memory;

/// Whether the instruction before `pc` can be a call, so that `pc` can be a return address.
pub fn ends_at(memory: &impl Memory, pc: u64) -> bool {
    let mut before = [0; LONGEST];
    let begin = pc.checked_sub(LONGEST as u64);
    begin.is_some_and(|begin| memory.read(begin, &mut before).is_ok()) && is_call(before)
}

/// `call rel32`; `call reg` by `r10`, as C2 and the stubs call C, is `41 ff d2`.
#[cfg(target_arch = "x86_64")]
const LONGEST: usize = 5;
#[cfg(target_arch = "x86_64")]
fn is_call(before: [u8; LONGEST]) -> bool {
    // `call reg` has the operation 2 in its second byte, and names a register there.
    matches!(before, [0xe8, ..]) || matches!(before, [.., 0xff, operand] if operand & 0xf8 == 0xd0)
}

#[cfg(target_arch = "aarch64")]
const LONGEST: usize = 4;
/// `bl` and `blr`.
#[cfg(target_arch = "aarch64")]
fn is_call(before: [u8; LONGEST]) -> bool {
    let word = u32::from_le_bytes(before);
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::unwind::memory::RecordedMemory;

    /// Only what a call can end with is taken for one, and memory that can't be read is not.
    #[test]
    fn calls_are_told_from_others() {
        let mut memory = RecordedMemory::default();
        memory.put(0x1000, &[0xe8, 1, 2, 3, 4, 0x90, 0x41, 0xff, 0xd2, 0xc3]);
        assert!(ends_at(&memory, 0x1005), "call rel32");
        assert!(ends_at(&memory, 0x1009), "call r10");
        for pc in [0x1006, 0x1007, 0x1008, 0x100a, 0x2000, 0] {
            assert!(!ends_at(&memory, pc), "{pc:#x}");
        }
    }
}
