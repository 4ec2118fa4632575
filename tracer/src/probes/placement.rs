//! Where in a function a probe costs least.
//!
//! The kernel emulates a few instructions; a probe on any other is single-stepped out of line, which costs ten times as
//! much. So the probe goes to the first emulated instruction that every call passes while the arguments are still in
//! their registers. Known from arch/x86/kernel/uprobes.c (`branch_setup_xol_ops`, `push_setup_xol_ops`, since 4.x).

use std::collections::HashSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory,
    IntelFormatter, OpAccess, Register,
};

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes from the function's entry.
    pub offset: u64,
    /// The instruction there.
    pub instruction: String,
    pub emulated: bool,
}

/// What the probe relies on.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Arguments 0..n have to be in their registers.
    pub arguments: u32,
    /// A return probe goes to the same place: the return address has to be on top of the stack.
    pub return_address: bool,
}

/// The System V calling convention's argument registers.
const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];

/// Longest entry block that is looked at, in instructions.
const REACH: usize = 24;

/// Chooses the place in `code`, the bytes of an x86_64 function from its entry on.
pub fn place(code: &[u8], needs: Needs) -> Placement {
    let entry = decode(code).next();
    let best = candidates(code, needs).find(|instruction| is_emulated(instruction, code));
    let jumped_to = branch_targets(code);
    match best {
        Some(found) if !(1..=found.ip()).any(|target| jumped_to.contains(&target)) => Placement {
            offset: found.ip(),
            instruction: format(&found),
            emulated: true,
        },
        _ => Placement {
            offset: 0,
            instruction: entry
                .as_ref()
                .map(format)
                .unwrap_or_else(|| "unreadable".into()),
            emulated: false,
        },
    }
}

fn decode(code: &[u8]) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

/// The instructions that every call passes with what the probe needs still in place.
fn candidates(code: &[u8], needs: Needs) -> impl Iterator<Item = Instruction> {
    let mut info = InstructionInfoFactory::new();
    let mut intact = true;
    decode(code).take(REACH).take_while(move |instruction| {
        let offered = intact;
        intact &= instruction.flow_control() == FlowControl::Next
            && !spoils(&mut info, instruction, needs);
        offered
    })
}

/// Does the instruction overwrite what the probe needs?
fn spoils(info: &mut InstructionInfoFactory, instruction: &Instruction, needs: Needs) -> bool {
    let needed = &ARGUMENTS[..(needs.arguments as usize).min(ARGUMENTS.len())];
    info.info(instruction).used_registers().iter().any(|used| {
        let written = !matches!(
            used.access(),
            OpAccess::None | OpAccess::Read | OpAccess::CondRead
        );
        let register = used.register().full_register();
        written && (needed.contains(&register) || needs.return_address && register == Register::RSP)
    })
}

/// The kernel emulates it. Prefixes other than REX.B on a push make it fall back to single-stepping.
fn is_emulated(instruction: &Instruction, code: &[u8]) -> bool {
    let bytes = &code[instruction.ip() as usize..][..instruction.len()];
    match bytes {
        [0x50..=0x57] | [0x41, 0x50..=0x57] => true,
        [0x90] => instruction.code() == Code::Nopd,
        [0x70..=0x7f, _] | [0xeb, _] => true,
        [0xe8 | 0xe9, rest @ ..] => rest.len() == 4,
        [0x0f, 0x80..=0x8f, rest @ ..] => rest.len() == 4,
        _ => false,
    }
}

/// Offsets within the function that its own branches lead to: a probe at or behind one may fire more than once a call.
fn branch_targets(code: &[u8]) -> HashSet<u64> {
    let is_branch = |i: &Instruction| {
        matches!(
            i.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        )
    };
    decode(code)
        .filter(is_branch)
        .map(|i| i.near_branch_target())
        .collect()
}

/// A jump's target is given in bytes from the function's entry.
fn format(instruction: &Instruction) -> String {
    let mut text = String::new();
    let mut formatter = IntelFormatter::new();
    if instruction.flow_control() != FlowControl::Next && instruction.near_branch_target() != 0 {
        formatter.format_mnemonic(instruction, &mut text);
        let target = instruction.near_branch_target() as i64;
        let sign = if target < 0 { '-' } else { '+' };
        let mnemonic = text.split(' ').next().unwrap_or_default();
        return format!("{mnemonic} entry{sign}{:#x}", target.unsigned_abs());
    }
    formatter.format(instruction, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Needs = Needs {
        arguments: 1,
        return_address: false,
    };

    fn placed(code: &[u8], needs: Needs) -> (u64, bool) {
        let placement = place(code, needs);
        (placement.offset, placement.emulated)
    }

    /// glibc 2.36 `malloc` begins with a push: the probe stays at the entry.
    #[test]
    fn a_push_at_the_entry_is_taken() {
        let code = [0x41, 0x54, 0x55, 0x53, 0x48, 0x89, 0xfb, 0xc3];
        assert_eq!(
            placed(
                &code,
                Needs {
                    arguments: 1,
                    return_address: true
                }
            ),
            (0, true)
        );
    }

    /// glibc 2.36 `free` is `test rdi,rdi; je; push rbp`: the jump is passed by null pointers too, and is emulated.
    #[test]
    fn a_conditional_jump_is_taken_behind_a_test() {
        let code = [
            0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0, 0x55, 0x48, 0x8d, 0x77, 0xf0, 0xc3,
        ];
        assert_eq!(placed(&code, FREE), (3, true));
        assert_eq!(place(&code, FREE).instruction, "je entry+0xc8");
    }

    /// zlib 1.2.13 `inflateInit_` ends in a jump to a function before it.
    #[test]
    fn jumps_may_lead_backwards() {
        let placement = place(&[0xe9, 0x8b, 0x71, 0xff, 0xff], FREE);
        assert_eq!(placement.instruction, "jmp entry-0x8e70");
    }

    /// `endbr64; push rbp`: the probe goes behind the landing pad.
    #[test]
    fn endbr64_is_skipped() {
        assert_eq!(
            placed(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3], FREE),
            (4, true)
        );
    }

    /// glibc 2.36 `reallocarray` multiplies into rdx before its jump: with three arguments needed the entry is all there is.
    #[test]
    fn clobbered_arguments_end_the_search() {
        let code = [
            0x48, 0x89, 0xf0, 0x48, 0xf7, 0xe2, 0x48, 0x89, 0xc6, 0x70, 0x05, 0xe9, 0, 0, 0, 0,
            0xc3,
        ];
        assert_eq!(
            placed(
                &code,
                Needs {
                    arguments: 3,
                    return_address: true
                }
            ),
            (0, false)
        );
    }

    /// With a return probe, nothing behind a change of the stack pointer will do; `push` itself is still in time.
    #[test]
    fn a_return_probe_stays_above_the_frame() {
        let code = [0x48, 0x83, 0xec, 0x58, 0x55, 0xc3];
        assert_eq!(
            placed(
                &code,
                Needs {
                    arguments: 1,
                    return_address: true
                }
            ),
            (0, false)
        );
        assert_eq!(placed(&code, FREE), (4, true));
    }

    /// A place that the function jumps back to would count a call twice.
    #[test]
    fn loops_are_avoided() {
        let code = [0x48, 0x85, 0xff, 0x55, 0x31, 0xc0, 0xeb, 0xfb, 0xc3];
        assert_eq!(
            placed(&code, FREE),
            (0, false),
            "the jump leads back to the push at 3"
        );
    }

    /// Bytes that are no code do not panic, whatever they are.
    #[test]
    fn garbage_is_survived() {
        for seed in 0..=255u8 {
            let code: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(31) ^ seed).collect();
            for length in 0..code.len() {
                let _ = place(&code[..length], FREE);
            }
        }
    }
}
