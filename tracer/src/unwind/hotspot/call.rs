//! Calls in generated code.

use crate::unwind::arch::Arch;
use crate::unwind::memory::Memory;

/// The longest of the instructions below.
const LONGEST: usize = 5;

/// Whether the instruction before `pc` can be a call, so that `pc` can be a return address.
pub fn ends_at(memory: &impl Memory, arch: Arch, pc: u64) -> bool {
    let mut before = [0; LONGEST];
    let begin = pc.checked_sub(LONGEST as u64);
    let is_read = begin.is_some_and(|begin| memory.read(begin, &mut before).is_ok());
    is_read
        && match arch {
            Arch::X86_64 => is_call_x86_64(before),
            Arch::Aarch64 => is_call_aarch64(before),
        }
}

/// `call rel32`, and `call reg`: its second byte has the operation 2 and a register.
fn is_call_x86_64(before: [u8; LONGEST]) -> bool {
    matches!(before, [0xe8, ..]) || matches!(before, [.., 0xff, operand] if operand & 0xf8 == 0xd0)
}

/// `bl` and `blr`.
fn is_call_aarch64([_, word @ ..]: [u8; LONGEST]) -> bool {
    let word = u32::from_le_bytes(word);
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::memory::RecordedMemory;

    /// Only what a call can end with is taken for one, and memory that can't be read is not.
    #[test]
    fn calls_are_told_from_others() {
        let mut memory = RecordedMemory::default();
        memory.put(0x1000, &[0xe8, 1, 2, 3, 4, 0x90, 0x41, 0xff, 0xd2, 0xc3]);
        let is_call = |pc| ends_at(&memory, Arch::X86_64, pc);
        assert!(is_call(0x1005), "call rel32");
        assert!(is_call(0x1009), "call r10");
        for pc in [0x1006, 0x1007, 0x1008, 0x100a, 0x2000, 0] {
            assert!(!is_call(pc), "{pc:#x}");
        }
        let words = [0xd503_201f_u32, 0x9400_0040, 0xd63f_0100, 0x1400_0040];
        memory.put(0x3000, &words.map(u32::to_le_bytes).concat());
        let is_call = |pc| ends_at(&memory, Arch::Aarch64, pc);
        assert!(is_call(0x3008), "bl");
        assert!(is_call(0x300c), "blr x8");
        assert!(!is_call(0x3010), "b");
    }
}
