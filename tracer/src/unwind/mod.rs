//! Registers and stack bytes in, frames out.

pub mod memory;
