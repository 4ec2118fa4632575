//! What is fuzzed: each function takes any bytes, hands them to the code that reads what a hostile target controls, and
//! asserts what must hold whatever they are. It panics where something does not, and has no other way to fail.
//!
//! `cargo xtask fuzz` drives these functions with coverage, `tests/fuzz.rs` with a bounded number of inputs. The
//! functions call production code; only the memory and the files that it reads are made of the input.

mod cfi;
mod dwarf;
mod elf;
mod events;
mod input;
mod perf_map;
mod triage;
mod vm_structs;
mod walk;

pub use cfi::cfi;
pub use dwarf::dwarf;
pub use elf::elf;
pub use events::events;
pub use perf_map::perf_map;
pub use triage::{cgroup, glibc, perf_data, smaps};
pub use vm_structs::vm_structs;
pub use walk::walk;

/// Something that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its folders and of its binary under `fuzz/`.
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target {
        name: "walk",
        run: walk,
    },
    Target {
        name: "vm_structs",
        run: vm_structs,
    },
    Target {
        name: "elf",
        run: elf,
    },
    Target {
        name: "cfi",
        run: cfi,
    },
    Target {
        name: "dwarf",
        run: dwarf,
    },
    Target {
        name: "events",
        run: events,
    },
    Target {
        name: "perf_map",
        run: perf_map,
    },
    Target {
        name: "smaps",
        run: smaps,
    },
    Target {
        name: "cgroup",
        run: cgroup,
    },
    Target {
        name: "perf_data",
        run: perf_data,
    },
    Target {
        name: "glibc",
        run: glibc,
    },
];
