//! offheap: which Java and native stacks hold the outstanding native memory of a live JVM.

pub mod accounts;
pub mod ages;
pub mod budget;
pub mod bundle;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod doctor;
pub mod events;
pub mod exit;
mod fast_map;
pub mod fleet;
pub mod functions;
#[doc(hidden)]
pub mod fuzzing;
mod heap;
pub mod ledger;
pub mod list;
pub mod live;
pub mod probes;
pub mod readings;
pub mod reconcile;
pub mod regions;
pub mod report;
pub mod run;
pub mod serve;
pub mod settings;
pub mod snapshot;
pub mod stack;
pub mod streams;
pub mod symbolize;
pub mod target;
pub mod threshold;
pub mod trace;
pub mod trend;
pub mod triage;
pub mod unwind;
