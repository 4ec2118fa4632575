//! `offheap triage`: where a process's memory is, by owner, without tracing anything.
//!
//! [`read`] looks at the process (`/proc`, its cgroup, the JVM's own tables and counters, the allocator's structures) and
//! makes a [`Reading`](reading::Reading) of plain data; [`owners`] adds it up, [`verdict`] judges one look or several, and
//! [`report`] says it. Only `read` and `ask` touch the process, and nothing stops, signals or writes it.

mod ask;
pub mod cgroup;
pub mod claims;
pub mod glibc;
pub mod growth;
pub mod java;
pub mod owners;
pub mod perf_data;
pub mod read;
pub mod reading;
pub mod report;
mod residence;
mod run;
mod shape;
pub mod smaps;
pub mod tasks;
pub mod verdict;

pub use run::run;
