//! Reading the target's memory, as a trait: the walker is a pure function over it and is tested on recorded pages.

/// The bytes asked for are not (all) there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Memory of the target. Everything that comes from it is hostile.
pub trait Memory {
    /// Fills `buf` from `address` or fails as a whole.
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable>;
}
