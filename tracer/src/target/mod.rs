//! The traced process: who it is, what it has mapped, what JVM it runs.

pub mod modules;
