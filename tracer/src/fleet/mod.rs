//! What `watch` hands to other systems: metrics to those who ask, profiles to those who collect.
//!
//! Each runs on a thread of its own with ordinary priority, holds a bounded amount of memory, and never makes the trace
//! wait: metrics are a page that the trace leaves on a [`board`], profiles are files in a bounded spool.

pub mod board;
pub mod export;
pub mod listen;
pub mod metrics;
pub mod push;
pub mod site_id;

pub use export::Export;
