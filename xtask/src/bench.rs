//! `cargo xtask bench`: what tracing costs on this machine, measured on the release build.

use anyhow::{Context, Result};

use crate::{
    build::{self, Profile},
    cargo, host, process,
    setup::{self, Scope},
};

/// The program that measures, in the package of the integration tests.
const PROGRAM: &str = "offheap-bench";

#[derive(clap::Args)]
pub struct Args {
    /// How often each figure is taken, instead of as often as it needs
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Which figures: pairs, stacks, gzip, tracer, exact, scale, unwind, attach, reports, triage; all of them without a name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    setup::ensure(Scope::Tests)?;
    let offheap = build::offheap(Profile::Release, None)?;
    let mut build = cargo::host();
    build.args([
        "build",
        "--release",
        "--package",
        "offheap-tests",
        "--bin",
        PROGRAM,
    ]);
    let built = cargo::build(&mut build)?.executables;
    let program = built.into_iter().find(|built| built.name == PROGRAM);
    let program = program.with_context(|| format!("cargo built no {PROGRAM}"))?;

    let environment = crate::test::environment(&offheap, &crate::test::Args::default());
    let mut command = host::as_root(&program.path, &environment)?;
    cargo::clean(&mut command, cargo::describes_a_crate);
    if let Some(rounds) = args.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    process::run(command.args(&args.names))
}
