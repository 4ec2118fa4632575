//! The traced process: who it is, what it has mapped, what JVM it runs.

pub mod container;
mod cpu;
mod id;
pub mod jvm;
pub mod launcher;
pub mod modules;
pub mod namespaces;
mod pages;
pub mod process;
pub mod root;
pub mod text;
pub mod user;

pub use cpu::CpuClock;
pub use id::{Pid, Tid};
pub use pages::Pages;
