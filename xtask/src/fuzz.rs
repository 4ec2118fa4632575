//! `cargo xtask fuzz`: the fuzz targets, driven by coverage. docs/FUZZING.md says what they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cargo, process, workspace};

/// The release to install where there is none.
const VERSION: &str = "0.13.2";
/// Inputs that take this many seconds are stuck: they take milliseconds.
const STUCK: u32 = 10;
/// The process, with the compiler's sanitizer. What one input may hold is asserted by `tracer/tests/fuzz.rs`.
const MAX_MIB: u32 = 2048;
/// The longest input that is tried.
const MAX_LEN: u32 = 16 << 10;

#[derive(clap::Args)]
pub struct Args {
    /// How long each target is run
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Which targets: those under fuzz/fuzz_targets; all of them without a name
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let known = targets()?;
    let chosen = if args.targets.is_empty() {
        &known
    } else {
        &args.targets
    };
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(name)) {
        bail!(
            "no fuzz target is called {unknown}; there are {}",
            known.join(", ")
        );
    }
    let program = find_or_install()?;
    let is_nightly = has_nightly();
    if !is_nightly {
        eprintln!("note: without a nightly toolchain there is no address sanitizer");
    }
    for target in chosen {
        let mut command = fuzz(&program, is_nightly);
        command.args(inputs(target)?);
        command.arg("--").args([
            format!("-max_total_time={}", args.seconds),
            format!("-timeout={STUCK}"),
            format!("-rss_limit_mb={MAX_MIB}"),
            format!("-max_len={MAX_LEN}"),
            String::from("-print_final_stats=1"),
        ]);
        process::run(&mut command).with_context(|| {
            format!("{target} failed: fix it, and keep the input in fuzz/regressions/{target}")
        })?;
    }
    Ok(())
}

/// What `cargo xtask check` can say of the targets: that they still fit what they call.
pub fn check() -> Result<()> {
    let mut command = cargo::host();
    command
        .args([
            "clippy",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--locked",
            "--no-default-features",
            "--target-dir",
        ])
        .arg(workspace::target())
        .args(["--", "-Dwarnings"]);
    process::run(&mut command)
}

fn crate_folder() -> PathBuf {
    workspace::root().join("fuzz")
}

/// The targets by their sources.
fn targets() -> Result<Vec<String>> {
    let folder = crate_folder().join("fuzz_targets");
    let files =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = |path: &Path| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<_> = files
        .flatten()
        .filter_map(|file| name(&file.path()))
        .collect();
    names.sort();
    Ok(names)
}

/// The target, where new inputs go, and where others are read.
fn inputs(target: &str) -> Result<Vec<PathBuf>> {
    let found = workspace::target().join("fuzz/corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
    let committed = ["seeds", "regressions"].map(|kind| crate_folder().join(kind).join(target));
    let committed = committed.into_iter().filter(|folder| folder.is_dir());
    Ok([PathBuf::from(target), found]
        .into_iter()
        .chain(committed)
        .collect())
}

/// `cargo fuzz run` as far as it is the same for all targets.
fn fuzz(program: &Path, is_nightly: bool) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    cargo::clean(&mut command, cargo::describes_a_crate);
    command
        .args(["run", "--target-dir"])
        .arg(workspace::target().join("fuzz"));
    if is_nightly {
        command.env("RUSTUP_TOOLCHAIN", "nightly");
    } else {
        // Coverage is a compiler flag that stable compilers have and do not accept.
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["--sanitizer", "none"]);
    }
    command
}

fn has_nightly() -> bool {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", "nightly", "rustc", "--version"]);
    process::output(&mut rustc).is_ok()
}

/// cargo-fuzz: in PATH, or in the repository's own folder, where it is built when it is missing.
fn find_or_install() -> Result<PathBuf> {
    let own = workspace::tools().join("bin/cargo-fuzz");
    if let Some(found) = process::find_in_path("cargo-fuzz") {
        return Ok(found);
    }
    if process::is_executable(&own) {
        return Ok(own);
    }
    eprintln!("building cargo-fuzz {VERSION} into target/tools");
    let mut install = cargo::host();
    install
        .args(["install", "--locked", "--version", VERSION, "--root"])
        .arg(workspace::tools())
        .arg("cargo-fuzz")
        // Otherwise it would build into, and keep, a folder that the user has set for this workspace.
        .env_remove("CARGO_TARGET_DIR");
    process::run(&mut install)?;
    Ok(own)
}
