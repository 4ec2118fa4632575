//! `cargo xtask record`: golden stacks of live JVMs, recorded anew. docs/TESTING.md says what they are.

use anyhow::Result;

use crate::{
    cargo, jdk, process,
    setup::{self, Scope},
};

/// The tests of the unwinder that record what they see.
const TESTS: &str = "unwind::tests";

/// Needs no root: the JVMs are children of the test, which stops them itself.
pub fn run() -> Result<()> {
    setup::ensure(Scope::Tests)?;
    jdk::ensure()?;
    let mut record = cargo::host();
    record.args([
        "test",
        "--package",
        "offheap",
        "--lib",
        TESTS,
        "--",
        "--nocapture",
    ]);
    process::run(record.env("OFFHEAP_BLESS", "1"))?;
    // What was compiled in before are the old ones.
    let mut replay = cargo::host();
    process::run(replay.args(["test", "--package", "offheap", "--lib", TESTS]))
}
