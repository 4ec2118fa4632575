//! Harness of the integration tests: real processes that tell the truth about themselves, the tool that watches them,
//! and the kernel's own lists.
//!
//! A test starts a [`Target`], lets a [`Tool`] watch it, says `go`, and compares what the tool reports with the
//! [`Truth`] that the target printed. Nothing waits by sleeping: every wait is a deadline on a handshake.

pub mod browser;
pub mod captures;
pub mod cgroup;
pub mod checks;
pub mod churn;
pub mod code;
pub mod debug_info;
pub mod http;
pub mod jdk;
pub mod kernel;
pub mod lines;
pub mod occurrences;
pub mod process;
pub mod releases;
pub mod scenarios;
pub mod session;
pub mod sources;
pub mod target;
pub mod terminal;
pub mod tool;
pub mod triage;
pub mod truth;
pub mod witness;

use std::time::Duration;

pub use checks::{
    Sum, assert_conserved, assert_frames_in_order, assert_rooted, sites_through, sum,
};
pub use session::{Session, session, skip};
pub use sources::{CFlags, c_library, c_program, classpath, classpath_8, java};
pub use target::Target;
pub use tool::{Finished, Tool};
pub use truth::{Truth, assert_exact, assert_nothing_else, assert_truth};

/// How long any one step may take before a test fails: far above what a loaded two-core machine needs.
pub const DEADLINE: Duration = Duration::from_secs(60);
