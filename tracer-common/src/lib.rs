//! The contract between offheap's BPF programs and its userspace.
//!
//! Everything that crosses the kernel's edge is here: the events, the configuration, the map values, the outcomes that
//! are counted, and the pure decisions that the programs take, so that they can be tested on the host.
//!
//! Shared structs are `#[repr(C)]`, made of integers, without padding; their sizes are asserted at compile time.

#![no_std]

pub mod config;
pub mod cookie;
pub mod event;
pub mod inflight;
pub mod live;
pub mod outcome;
#[cfg(feature = "user")]
mod pod;
pub mod product;
pub mod sampling;
