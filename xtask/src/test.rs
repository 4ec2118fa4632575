//! `cargo xtask test`: every test that this machine allows, built as the user, the privileged ones run as root.

pub mod tally;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use self::tally::{Reader, Tally};
use crate::{
    build::{self, Profile},
    cargo::{self, Executable},
    debian,
    host::{self, Privilege, Refused},
    jars, jdk,
    kernels::{self, Extent},
    process,
    setup::{self, Scope},
    workspace,
};

#[derive(Default, clap::Args)]
pub struct Args {
    /// Also the tests that take long, with all JDKs under all flags
    #[arg(long)]
    full: bool,
    /// Only the privileged tests on other kernels, in virtual machines
    #[arg(long, conflicts_with = "filter")]
    kernels: bool,
    /// Run only tests whose name contains this
    filter: Option<String>,
}

pub fn run(args: &Args) -> Result<()> {
    if host::privilege() == Privilege::None {
        let text = "the privileged tests need root, and there is no sudo: run `cargo xtask test` as root, \
                    or `cargo test` for the others";
        return Err(Refused(text.to_owned()).into());
    }
    setup::ensure(Scope::Tests)?;
    match jdk::ensure() {
        Err(error) if args.full => return Err(error),
        Err(error) => eprintln!("note: {error:#}; tests that compare JDKs are skipped"),
        Ok(()) => {}
    }
    if args.full
        && let Err(error) = debian::jdks::ensure()
    {
        eprintln!("note: {error:#}; tests that run them are skipped");
    }
    if let Err(error) = jars::ensure() {
        eprintln!("note: {error:#}; tests that trace them are skipped");
    }
    if let Err(error) = debian::libraries::ensure() {
        eprintln!("note: {error:#}; tests that probe them are skipped");
    }
    let offheap = build::offheap(Profile::Dev, None)?;
    let mut no_run = cargo::host();
    let programs = cargo::build(no_run.args(["test", "--workspace", "--no-run"]))?.executables;
    let environment = environment(&offheap, args);

    let (mut unit, mut privileged) = (Tally::default(), Tally::default());
    let tests = programs.iter().filter(|program| program.is_test);
    for program in tests.filter(|_| !args.kernels) {
        if is_privileged(program) {
            let mut command = host::as_root(&program.path, &environment)?;
            // The kernel's probes and the load of the machine are shared: one at a time.
            privileged.add(execute(command.arg("--test-threads=1"), program, args)?);
        } else {
            unit.add(execute(&mut Command::new(&program.path), program, args)?);
        }
    }
    if args.kernels || args.full && args.filter.is_none() {
        let extent = match args.full {
            true => Extent::Full,
            false => Extent::Short,
        };
        privileged.add(kernels::run(&programs, &environment, extent));
    }
    conclude(&unit, &privileged, args)
}

/// What the integration tests know of this run, and what sudo's policy would drop.
pub fn environment(offheap: &Path, args: &Args) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("OFFHEAP_BIN", offheap.display().to_string()),
        ("OFFHEAP_REQUIRE_PRIVILEGED", "1".to_owned()),
    ];
    let jdks = jdk::folder();
    if jdks.is_dir() {
        environment.push(("OFFHEAP_JDKS", jdks.display().to_string()));
    }
    let libraries = debian::libraries::folder();
    if libraries.is_dir() {
        environment.push(("OFFHEAP_LIBRARIES", libraries.display().to_string()));
    }
    let jars = jars::folder();
    if jars.is_dir() {
        environment.push(("OFFHEAP_JARS", jars.display().to_string()));
    }
    if args.full {
        environment.push(("OFFHEAP_FULL", "1".to_owned()));
    }
    let kept =
        ["PATH", "JAVA_HOME"].map(|name| std::env::var(name).ok().map(|value| (name, value)));
    environment.extend(kept.into_iter().flatten());
    environment
}

fn is_privileged(program: &Executable) -> bool {
    program.package == workspace::root().join("tests")
}

/// Runs one test program as cargo would, in its package's folder, and counts what it prints.
fn execute(command: &mut Command, program: &Executable, args: &Args) -> Result<Tally> {
    // Shown output is where a test says that it was skipped.
    command
        .arg("--show-output")
        .args(&args.filter)
        .current_dir(&program.package);
    cargo::clean(command, cargo::describes_a_crate);
    command.env("CARGO_MANIFEST_DIR", &program.package);
    eprintln!("$ {}", process::line(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.name))?;
    let stdout = child
        .stdout
        .take()
        .context("the test program has no stdout")?;
    let mut reader = Reader::default();
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    // Bytes, because a test may print what is no UTF-8.
    while lines
        .read_until(b'\n', &mut line)
        .context("cannot read from a test program")?
        > 0
    {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        reader.take(text.trim_end());
        line.clear();
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for {}", program.name))?;
    Ok(reader.finish(&program.name, status.success()))
}

fn conclude(unit: &Tally, privileged: &Tally, args: &Args) -> Result<()> {
    let mut total = unit.clone();
    total.add(privileged.clone());
    for line in total.skips.iter().map(|skip| format!("skipped {skip}")) {
        println!("{line}");
    }
    for line in total
        .failures
        .iter()
        .map(|failure| format!("failed {failure}"))
    {
        println!("{line}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.skipped
    );
    match &args.filter {
        _ if total.failed > 0 => bail!("{} tests failed", total.failed),
        Some(filter) if total.ran() == 0 => bail!("no test whose name contains {filter:?} ran"),
        None if privileged.ran() == 0 => bail!("no privileged test ran"),
        _ => Ok(()),
    }
}
