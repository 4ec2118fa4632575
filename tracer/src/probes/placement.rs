//! Where in a function a probe costs least.
//!
//! The kernel emulates a few instructions; a probe on any other is single-stepped out of line, which costs ten times as
//! much. So the probe goes to the first emulated instruction that every call passes while the arguments are still in
//! registers, be it in others than the caller put them into. Known from arch/x86/kernel/uprobes.c (`branch_setup_xol_ops`,
//! `push_setup_xol_ops`, since 4.x).

use std::collections::HashSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory,
    IntelFormatter, OpAccess, OpKind, Register,
};
use tracer_common::cookie::NO_ARGUMENT;

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes from the function's entry.
    pub offset: u64,
    /// The instruction there.
    pub instruction: String,
    pub emulated: bool,
    /// Where each argument is at that place, as the cookie numbers registers; its own register where that is not looked at.
    pub registers: [u32; ARGUMENTS],
    /// Where the function's `ret`s are, in bytes from its entry; only where these are probed.
    pub exits: Vec<u64>,
}

impl Placement {
    /// At the function's entry, where arguments are in their own registers.
    pub fn at_entry(instruction: String, emulated: bool) -> Placement {
        Placement {
            offset: 0,
            instruction,
            emulated,
            registers: IN_PLACE,
            exits: Vec::new(),
        }
    }

    /// The register that holds `argument`.
    pub fn register(&self, argument: u32) -> u32 {
        let register = self.registers.get(argument as usize);
        register.copied().unwrap_or(NO_ARGUMENT)
    }
}

/// What the probe relies on.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Arguments 0..n have to be in registers.
    pub arguments: u32,
    /// Each in its own: the programs do not ask where they are.
    pub in_place: bool,
    /// A return probe goes to the same place: the return address has to be on top of the stack.
    pub return_address: bool,
}

/// Arguments that come in registers.
pub const ARGUMENTS: usize = 6;
const IN_PLACE: [u32; ARGUMENTS] = [0, 1, 2, 3, 4, 5];

/// General registers as the cookie numbers them: first the System V calling convention's argument registers.
const REGISTERS: [Register; 15] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
    Register::RAX,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

fn number(register: Register) -> Option<usize> {
    REGISTERS.iter().position(|known| *known == register)
}

/// Longest entry block that is looked at, in instructions.
const REACH: usize = 24;

/// Chooses the place in `code`, the bytes of an x86_64 function from its entry on.
pub fn place(code: &[u8], needs: Needs) -> Placement {
    let entry = decode(code).next();
    let best = candidates(code, needs).find(|(instruction, _)| is_emulated(instruction, code));
    let jumped_to = branch_targets(code);
    match best {
        Some((found, registers)) if !(1..=found.ip()).any(|target| jumped_to.contains(&target)) => {
            Placement {
                offset: found.ip(),
                instruction: format(&found),
                emulated: true,
                registers,
                exits: Vec::new(),
            }
        }
        _ => {
            let instruction = entry.as_ref().map(format);
            Placement::at_entry(instruction.unwrap_or_else(|| "unreadable".into()), false)
        }
    }
}

/// Where a function returns, in bytes from its entry. Calls that end in a jump to another function are not among them.
pub fn exits(code: &[u8]) -> Vec<u64> {
    if !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    let returns = decode(code).filter(|i| i.flow_control() == FlowControl::Return);
    returns.map(|instruction| instruction.ip()).collect()
}

fn decode(code: &[u8]) -> impl Iterator<Item = Instruction> {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        let instruction = decoder.can_decode().then(|| decoder.decode())?;
        (!instruction.is_invalid()).then_some(instruction)
    })
}

/// The instructions that every call passes with what the probe needs still in registers, and in which.
fn candidates(code: &[u8], needs: Needs) -> impl Iterator<Item = (Instruction, [u32; ARGUMENTS])> {
    let mut info = InstructionInfoFactory::new();
    let mut held = Some(Held::at_entry());
    decode(code).take(REACH).map_while(move |instruction| {
        let before = held.take()?;
        let registers = before.registers(needs)?;
        if instruction.flow_control() == FlowControl::Next {
            held = before.after(&mut info, &instruction, needs);
        }
        Some((instruction, registers))
    })
}

/// Which argument each register holds.
#[derive(Clone, Copy)]
struct Held([Option<usize>; REGISTERS.len()]);

impl Held {
    fn at_entry() -> Held {
        Held(std::array::from_fn(|register| {
            (register < ARGUMENTS).then_some(register)
        }))
    }

    /// After the instruction; none where it moves the stack pointer and that is needed.
    fn after(
        mut self,
        info: &mut InstructionInfoFactory,
        instruction: &Instruction,
        needs: Needs,
    ) -> Option<Held> {
        let moved = self.moved(instruction);
        for used in info.info(instruction).used_registers() {
            let register = used.register().full_register();
            if matches!(
                used.access(),
                OpAccess::None | OpAccess::Read | OpAccess::CondRead
            ) {
                continue;
            }
            if needs.return_address && register == Register::RSP {
                return None;
            }
            if let Some(written) = number(register) {
                self.0[written] = None;
            }
        }
        if let Some((to, argument)) = moved {
            self.0[to] = Some(argument);
        }
        Some(self)
    }

    /// The argument that a `mov` between whole registers copies, and where to.
    fn moved(&self, instruction: &Instruction) -> Option<(usize, usize)> {
        let is_move = matches!(instruction.code(), Code::Mov_rm64_r64 | Code::Mov_r64_rm64);
        let between_registers = instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register;
        if !is_move || !between_registers {
            return None;
        }
        let argument = self.0[number(instruction.op1_register())?]?;
        Some((number(instruction.op0_register())?, argument))
    }

    /// Where the arguments are; none where one that is needed is gone.
    fn registers(&self, needs: Needs) -> Option<[u32; ARGUMENTS]> {
        let mut registers = IN_PLACE;
        for (argument, register) in registers.iter_mut().enumerate() {
            if argument >= needs.arguments as usize || self.0[argument] == Some(argument) {
                continue;
            }
            let elsewhere = self.0.iter().position(|held| *held == Some(argument));
            *register = elsewhere.filter(|_| !needs.in_place)? as u32;
        }
        Some(registers)
    }
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
        in_place: false,
        return_address: false,
    };
    const MALLOC: Needs = Needs {
        return_address: true,
        ..FREE
    };

    fn placed(code: &[u8], needs: Needs) -> (u64, bool) {
        let placement = place(code, needs);
        (placement.offset, placement.emulated)
    }

    /// glibc 2.36 `malloc` begins with a push: the probe stays at the entry.
    #[test]
    fn a_push_at_the_entry_is_taken() {
        let code = [0x41, 0x54, 0x55, 0x53, 0x48, 0x89, 0xfb, 0xc3];
        assert_eq!(placed(&code, MALLOC), (0, true));
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
                    ..MALLOC
                }
            ),
            (0, false)
        );
    }

    /// With a return probe, nothing behind a change of the stack pointer will do; `push` itself is still in time.
    #[test]
    fn a_return_probe_stays_above_the_frame() {
        let code = [0x48, 0x83, 0xec, 0x58, 0x55, 0xc3];
        assert_eq!(placed(&code, MALLOC), (0, false));
        assert_eq!(placed(&code, FREE), (4, true));
    }

    /// mimalloc 3.0 `malloc` moves its argument before its first jump, and the probe finds it there; what is asked for in its
    /// own register is not.
    #[test]
    fn moved_arguments_are_followed() {
        // mov rax,[rip+0x1aee5]; mov rsi,rdi; mov rdi,fs:[rax]; cmp rsi,0x400; ja +0x2d; ret
        let code = [
            0x48, 0x8b, 0x05, 0xe5, 0xae, 0x01, 0x00, 0x48, 0x89, 0xfe, 0x64, 0x48, 0x8b, 0x38,
            0x48, 0x81, 0xfe, 0x00, 0x04, 0x00, 0x00, 0x77, 0x2d, 0xc3,
        ];
        let placement = place(&code, MALLOC);
        assert_eq!((placement.offset, placement.emulated), (21, true));
        assert_eq!(placement.register(0), 1, "rsi");
        let in_place = Needs {
            in_place: true,
            ..MALLOC
        };
        assert_eq!(placed(&code, in_place), (0, false));
    }

    /// Half a register, a copy that is overwritten, and an exchange do not count as the argument.
    #[test]
    fn only_whole_copies_are_followed() {
        let lost: [&[u8]; 3] = [
            // mov esi,edi; xor edi,edi; push rbp
            &[0x89, 0xfe, 0x31, 0xff, 0x55, 0xc3],
            // mov rsi,rdi; xor edi,edi; xor esi,esi; push rbp
            &[0x48, 0x89, 0xfe, 0x31, 0xff, 0x31, 0xf6, 0x55, 0xc3],
            // xchg rsi,rdi; push rbp
            &[0x48, 0x87, 0xfe, 0x55, 0xc3],
        ];
        for code in lost {
            assert_eq!(placed(code, FREE), (0, false), "{code:x?}");
        }
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
