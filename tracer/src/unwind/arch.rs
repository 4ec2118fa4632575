//! What of a walk depends on the processor, as a value: the rules of each are tested on any.

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// The one that this program runs on, as its targets do.
    pub const HOST: Arch = if cfg!(target_arch = "aarch64") {
        Arch::Aarch64
    } else {
        Arch::X86_64
    };

    /// A return address as it was before it was signed in its upper bits (aarch64 pointer authentication, which JDK 17 and
    /// later and distributions' libraries use). User memory ends below 48 bits.
    pub fn strip(self, address: u64) -> u64 {
        match self {
            Arch::X86_64 => address,
            Arch::Aarch64 => address & 0x0000_ffff_ffff_ffff,
        }
    }
}
