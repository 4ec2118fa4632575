//! Calls in generated code.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::unwind::arch::Arch;
use crate::unwind::memory::Memory;

/// What follows a call until its registers are restored: nine for integers, and vectors.
const RESTORING: usize = 512;

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

/// The bytes that code takes off the stack behind a call that returns to `pc`, up to where it goes on: what it had put
/// there around the call. None where it leaves its frame, or on another processor.
pub fn restored_after(memory: &impl Memory, arch: Arch, pc: u64) -> Option<u64> {
    if arch != Arch::X86_64 {
        return None;
    }
    let code = memory.read_up_to(pc, RESTORING);
    let mut restored = 0_u64;
    for instruction in &mut Decoder::with_ip(64, &code, pc, DecoderOptions::NONE) {
        match instruction.flow_control() {
            FlowControl::Next => restored = restored.checked_add(taken(&instruction)?)?,
            FlowControl::UnconditionalBranch => return Some(restored),
            _ => return None,
        }
    }
    None
}

/// What one instruction takes off the stack. None for what belongs to a frame: only that keeps `rbp`.
fn taken(instruction: &Instruction) -> Option<u64> {
    let first = instruction.op0_register();
    match instruction.mnemonic() {
        Mnemonic::Pop => (first != Register::RBP).then_some(8),
        Mnemonic::Add if first == Register::RSP && instruction.op1_kind() != OpKind::Register => {
            let bytes = instruction.immediate(1);
            (bytes.is_multiple_of(8)).then_some(bytes)
        }
        Mnemonic::Lea if first == Register::RSP => {
            let on_stack = instruction.memory_base() == Register::RSP;
            on_stack.then_some(instruction.memory_displacement64())
        }
        Mnemonic::Push | Mnemonic::Sub if first == Register::RSP => None,
        Mnemonic::INVALID => None,
        _ => Some(0),
    }
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

    fn restored(code: &[u8]) -> Option<u64> {
        let mut memory = RecordedMemory::default();
        memory.put(0x1000, &[0xcc; RESTORING]);
        memory.put(0x1000, code);
        restored_after(&memory, Arch::X86_64, 0x1000)
    }

    /// What is restored around a call is counted up to the jump back; a frame that is left is none of it.
    #[test]
    fn registers_are_counted() {
        let saved: [&[u8]; 6] = [
            &[0x48, 0x83, 0xc4, 0x08],       // add rsp, 8
            &[0xc5, 0xfa, 0x6f, 0x04, 0x24], // vmovdqu xmm0, [rsp]
            &[0x48, 0x83, 0xc4, 0x10],       // add rsp, 16
            &[0x41, 0x58],                   // pop r8
            &[0x58],                         // pop rax
            &[0xe9, 0, 0, 0, 0],             // jmp
        ];
        assert_eq!(restored(&saved.concat()), Some(40));
        let jump = [0xeb, 0x10];
        assert_eq!(restored(&jump), Some(0));
        let epilogue = [0x48, 0x83, 0xc4, 0x20, 0x5d, 0xc3];
        assert_eq!(restored(&epilogue), None);
        assert_eq!(restored(&[]), None);
        let nothing = RecordedMemory::default();
        assert_eq!(restored_after(&nothing, Arch::X86_64, 0x1000), None);
        assert_eq!(restored_after(&nothing, Arch::Aarch64, 0x1000), None);
    }
}
