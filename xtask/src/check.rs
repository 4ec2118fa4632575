//! `cargo xtask check`: what can be said of the sources without running offheap, warnings as errors.

use anyhow::{Result, bail};

use crate::{
    build, cargo, fuzz, process,
    setup::{self, Scope},
    workspace,
};

pub fn run() -> Result<()> {
    format()?;
    process::run(cargo::host().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-Dwarnings",
    ]))?;
    fuzz::check()?;
    bpf()?;
    // The integration tests need privileges and run one at a time: `cargo xtask test` runs them.
    process::run(cargo::host().args(["test", "--workspace", "--exclude", "offheap-tests"]))?;
    let mut docs = cargo::host();
    docs.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ])
    .env("RUSTDOCFLAGS", "-Dwarnings");
    process::run(&mut docs)
}

fn format() -> Result<()> {
    process::run(cargo::host().args(["fmt", "--all", "--check"]))?;
    process::run(
        cargo::host()
            .current_dir(workspace::bpf_crate())
            .args(["fmt", "--check"]),
    )?;
    process::run(cargo::host().args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
}

/// The BPF crate has a pass of its own: another target, and a compiler that may come without clippy.
fn bpf() -> Result<()> {
    setup::ensure(Scope::Build)?;
    // Cargo repeats the warnings of what it does not compile again, so that none is missed.
    let warnings = build::bpf(std::env::consts::ARCH)?.warnings;
    if warnings > 0 {
        bail!("the BPF crate has {warnings} warnings");
    }
    Ok(())
}
