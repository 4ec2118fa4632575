//! What Debian's other releases have and this machine has not, below `target/`.

pub mod archive;
pub mod jdks;
pub mod libraries;
