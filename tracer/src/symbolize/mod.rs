//! Names for stacks.

pub mod owner;
