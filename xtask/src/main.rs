//! `cargo xtask`: everything that is not plain cargo.
//!
//! Each command is one file. They share [`workspace`] (places), [`process`] (running a program), [`cargo`] (running
//! cargo from inside `cargo run`) and [`host`] (what this machine allows).

mod apt;
mod bench;
mod bpf_core;
mod build;
mod cargo;
mod check;
mod cross;
mod debian;
mod demo;
mod fuzz;
mod host;
mod jars;
mod jdk;
mod kernels;
mod linker;
mod llvm;
mod packages;
mod process;
mod record;
mod scenario;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::host::Refused;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything that is not plain cargo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the build, the demo and the tests need; does nothing when it is all there
    Setup(setup::Args),
    /// Build the BPF object, then the offheap binary with the object in it
    Build(build::Args),
    /// Watch a leaking JVM: the report, the verdict, and where the flame graph is
    Demo,
    /// Format, lints, unit tests and docs, warnings as errors
    Check,
    /// Run every test that this machine allows, the privileged ones as root
    Test(test::Args),
    /// Measure what tracing costs here: docs/BENCHMARKS.md
    Bench(bench::Args),
    /// Play an incident, and show what offheap says of it: docs/SCENARIOS.md
    Scenario(scenario::Args),
    /// Feed what reads hostile bytes with bytes, driven by coverage: docs/FUZZING.md
    Fuzz(fuzz::Args),
    /// Record the golden stacks of the unwinder's tests on each JDK anew: docs/TESTING.md
    Record,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Refused>() { 3 } else { 1 })
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Setup(args) => setup::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Demo => demo::run(),
        Command::Check => check::run(),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Scenario(args) => scenario::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Record => record::run(),
    }
}
