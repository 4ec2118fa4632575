//! offheap: which Java and native stacks hold the outstanding native memory of a live JVM.

pub mod bundle;
pub mod capture;
pub mod cli;
pub mod exit;
pub mod functions;
pub mod probes;
pub mod report;
pub mod run;
pub mod settings;
pub mod stack;
pub mod symbolize;
pub mod target;
pub mod unwind;
