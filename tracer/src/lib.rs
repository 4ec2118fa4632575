//! offheap: which Java and native stacks hold the outstanding native memory of a live JVM.

pub mod capture;
pub mod cli;
pub mod doctor;
pub mod exit;
pub mod list;
pub mod report;
pub mod run;
pub mod settings;
pub mod stack;
pub mod target;
pub mod unwind;
