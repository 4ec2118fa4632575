//! `cargo xtask scenario NAME`: an incident in a real process, and what offheap says of it, checked against the truth.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    cargo,
    host::{self, Refused},
    jdk, process,
    setup::{self, Scope},
};

/// The program that plays them, in the package of the integration tests, which play the same ones.
const PROGRAM: &str = "offheap-scenario";
/// Its exit code where this machine lacks something.
const REFUSED: i32 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// Say which there are
    #[arg(long)]
    list: bool,
    /// On each JVM that the tests play it on, and not only on the usual one
    #[arg(long, conflicts_with = "list")]
    all_rows: bool,
    /// The scenario
    #[arg(value_name = "NAME", required_unless_present = "list")]
    name: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let program = program()?;
    let list = process::output(Command::new(&program).arg("--list"))?;
    let Some(name) = args.name.as_ref().filter(|_| !args.list) else {
        print!("{list}");
        return Ok(());
    };
    let mut names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    if !names.any(|known| known == name) {
        bail!(
            "no scenario is called {name}; there are:\n{}",
            list.trim_end()
        );
    }
    setup::ensure(Scope::Tests)?;
    if let Err(error) = jdk::ensure() {
        eprintln!("note: {error:#}; it is played on the JDK that is installed");
    }
    let offheap = build::offheap(Profile::Dev, None)?;
    play(&program, &offheap, name, args)
}

fn program() -> Result<std::path::PathBuf> {
    let mut build = cargo::host();
    build.args(["build", "--package", "offheap-tests", "--bin", PROGRAM]);
    let built = cargo::build(&mut build)?.executables;
    let program = built.into_iter().find(|built| built.name == PROGRAM);
    Ok(program
        .with_context(|| format!("cargo built no {PROGRAM}"))?
        .path)
}

fn play(program: &Path, offheap: &Path, name: &str, args: &Args) -> Result<()> {
    let environment = crate::test::environment(offheap, &crate::test::Args::default());
    let mut command = host::as_root(program, &environment)?;
    cargo::clean(&mut command, cargo::describes_a_crate);
    command
        .args(args.all_rows.then_some("--all-rows"))
        .arg(name);
    eprintln!("$ {}", process::line(&command));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(REFUSED) => Err(Refused(format!("{name} was not played")).into()),
        _ => bail!("offheap is wrong about {name}, or could not be asked ({status})"),
    }
}
