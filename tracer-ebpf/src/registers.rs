//! The probed thread's registers, the same on every architecture.

use aya_ebpf::bindings::pt_regs;

#[derive(Clone, Copy)]
pub struct Registers(pub *const pt_regs);

/// Reads one register. In assembly, because the compiler would otherwise compute an address from the argument's number
/// first, and the verifier takes loads from the context at constant offsets only.
macro_rules! register {
    ($regs:expr, $type:ty, $($field:tt)+) => {{
        let value: u64;
        unsafe {
            core::arch::asm!(
                "{value} = *(u64 *)({context} + {offset})",
                value = out(reg) value,
                context = in(reg) $regs.0,
                offset = const core::mem::offset_of!($type, $($field)+),
            )
        };
        value
    }};
}

#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    use aya_ebpf::bindings::pt_regs;

    use super::Registers;

    impl Registers {
        #[inline(always)]
        pub fn ip(self) -> u64 {
            register!(self, pt_regs, rip)
        }

        #[inline(always)]
        pub fn sp(self) -> u64 {
            register!(self, pt_regs, rsp)
        }

        #[inline(always)]
        pub fn fp(self) -> u64 {
            register!(self, pt_regs, rbp)
        }

        #[inline(always)]
        pub fn lr(self) -> u64 {
            0
        }

        #[inline(always)]
        pub fn result(self) -> u64 {
            register!(self, pt_regs, rax)
        }

        /// The stack pointer at the function's entry, seen from its return: `ret` has popped the return address.
        #[inline(always)]
        pub fn entry_sp(self) -> u64 {
            self.sp() - 8
        }

        /// Register `n` as the cookie numbers them, which is argument `n` at a function's entry; 0 where there is none.
        #[inline(always)]
        pub fn argument(self, n: u32) -> u64 {
            match n {
                0 => register!(self, pt_regs, rdi),
                1 => register!(self, pt_regs, rsi),
                2 => register!(self, pt_regs, rdx),
                3 => register!(self, pt_regs, rcx),
                4 => register!(self, pt_regs, r8),
                5 => register!(self, pt_regs, r9),
                6 => register!(self, pt_regs, rax),
                7 => register!(self, pt_regs, r10),
                8 => register!(self, pt_regs, r11),
                9 => register!(self, pt_regs, rbx),
                10 => register!(self, pt_regs, rbp),
                11 => register!(self, pt_regs, r12),
                12 => register!(self, pt_regs, r13),
                13 => register!(self, pt_regs, r14),
                14 => register!(self, pt_regs, r15),
                _ => 0,
            }
        }
    }
}

/// The context is a `user_pt_regs`: 31 general registers, sp, pc, pstate (arch/arm64/include/uapi/asm/ptrace.h).
#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use super::Registers;

    #[repr(C)]
    struct Context {
        x0: u64,
        x1: u64,
        x2: u64,
        x3: u64,
        x4: u64,
        x5: u64,
        x6_to_x28: [u64; 23],
        x29: u64,
        x30: u64,
        sp: u64,
        pc: u64,
    }

    impl Registers {
        #[inline(always)]
        pub fn ip(self) -> u64 {
            register!(self, Context, pc)
        }

        #[inline(always)]
        pub fn sp(self) -> u64 {
            register!(self, Context, sp)
        }

        #[inline(always)]
        pub fn fp(self) -> u64 {
            register!(self, Context, x29)
        }

        #[inline(always)]
        pub fn lr(self) -> u64 {
            register!(self, Context, x30)
        }

        #[inline(always)]
        pub fn result(self) -> u64 {
            register!(self, Context, x0)
        }

        /// The stack pointer at the function's entry, seen from its return: the same, the return address is in x30.
        #[inline(always)]
        pub fn entry_sp(self) -> u64 {
            self.sp()
        }

        /// Argument `n` of a function at whose entry the thread stands; 0 where there is none in a register.
        #[inline(always)]
        pub fn argument(self, n: u32) -> u64 {
            match n {
                0 => register!(self, Context, x0),
                1 => register!(self, Context, x1),
                2 => register!(self, Context, x2),
                3 => register!(self, Context, x3),
                4 => register!(self, Context, x4),
                5 => register!(self, Context, x5),
                _ => 0,
            }
        }
    }
}
