//! Running cargo from a program that cargo itself started.
//!
//! `cargo run` hands its child variables that describe *this* crate. An inner cargo would pass them on to build
//! scripts, which then run again each time the outer command changes. The BPF build also drops whatever the caller
//! has set for builds of their own machine.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, IsTerminal},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process, workspace};

/// The cargo that runs us, at the workspace's root, without the variables of this crate.
pub fn host() -> Command {
    let mut command = Command::new(own());
    command.current_dir(workspace::root());
    clean(&mut command, describes_a_crate);
    command
}

/// `cargo` (a path or a name) in `folder`, without any setting that is meant for builds of the host.
pub fn foreign(cargo: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(cargo);
    command.current_dir(folder);
    clean(&mut command, shapes_a_build);
    command
}

/// The cargo that started this program; the one on PATH when it was started by hand.
pub fn own() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Cargo's home, where it keeps its registry and its installed programs.
pub fn home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

/// Removes the variables that `leaks` names, and cargo's own folders from the loader's path.
pub fn clean(command: &mut Command, leaks: fn(&str) -> bool) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(name);
        }
    }
    let Some(path) = std::env::var_os("LD_LIBRARY_PATH") else {
        return;
    };
    match without_cargo(&path) {
        Some(rest) => command.env("LD_LIBRARY_PATH", rest),
        None => command.env_remove("LD_LIBRARY_PATH"),
    };
}

/// Variables that `cargo run` sets to describe the crate that it runs.
pub fn describes_a_crate(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "OUT_DIR",
    ];
    NAMES.contains(&name) || name.starts_with("CARGO_PKG_")
}

/// Variables that decide what a build makes, as opposed to where cargo finds its registry.
fn shapes_a_build(name: &str) -> bool {
    const KEPT: [&str; 3] = ["CARGO_HOME", "CARGO_BUILD_JOBS", "CARGO_TERM_COLOR"];
    const KEPT_GROUPS: [&str; 5] = [
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
    ];
    const DROPPED: [&str; 3] = ["CARGO", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];
    const DROPPED_GROUPS: [&str; 3] = ["CARGO_", "RUSTC", "RUSTDOC"];
    let in_group = |groups: &[&str]| groups.iter().any(|group| name.starts_with(group));
    let kept = KEPT.contains(&name) || in_group(&KEPT_GROUPS);
    !kept && (DROPPED.contains(&name) || in_group(&DROPPED_GROUPS) || describes_a_crate(name))
}

/// `path` without the folders that cargo and rustup put there: build output and toolchains.
fn without_cargo(path: &OsStr) -> Option<OsString> {
    let ours = |folder: &PathBuf| {
        let text = folder.to_string_lossy();
        text.contains("/toolchains/")
            || text.contains("/rustlib/")
            || folder.starts_with(workspace::target())
    };
    let rest: Vec<_> = std::env::split_paths(path)
        .filter(|folder| !ours(folder))
        .collect();
    if rest.is_empty() {
        None
    } else {
        std::env::join_paths(rest).ok()
    }
}

/// What a build made.
#[derive(Debug, Default)]
pub struct Built {
    /// Programs that can be run, in the order in which cargo reported them.
    pub executables: Vec<Executable>,
    /// Warnings of the crates in the workspace, also of those that were not compiled again.
    pub warnings: usize,
}

/// One program that a build made.
#[derive(Debug)]
pub struct Executable {
    pub path: PathBuf,
    /// The folder of the package that it comes from.
    pub package: PathBuf,
    /// Whether it is a test program.
    pub is_test: bool,
    /// The target's name, for example `offheap`.
    pub name: String,
}

/// Runs a building cargo `command`, shows its diagnostics, and returns what it made.
pub fn build(command: &mut Command) -> Result<Built> {
    eprintln!("$ {}", process::line(command));
    let colored = std::io::stderr().is_terminal();
    let format = if colored {
        "json-diagnostic-rendered-ansi"
    } else {
        "json"
    };
    command
        .args(["--message-format", format])
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut built = Built::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo reports")?;
        match serde_json::from_str(&line) {
            Ok(message) => built.take(&message),
            Err(_) => println!("{line}"),
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("{} failed ({status})", process::line(command));
    }
    Ok(built)
}

impl Built {
    fn take(&mut self, message: &Value) {
        match message["reason"].as_str() {
            Some("compiler-message") => self.take_diagnostic(&message["message"]),
            Some("compiler-artifact") => self.executables.extend(executable(message)),
            _ => {}
        }
    }

    fn take_diagnostic(&mut self, diagnostic: &Value) {
        // The compiler's closing "3 warnings emitted" has no code and no place.
        let has_place = diagnostic["spans"]
            .as_array()
            .is_some_and(|spans| !spans.is_empty());
        let counts = has_place || !diagnostic["code"].is_null();
        if diagnostic["level"] == "warning" && counts {
            self.warnings += 1;
        }
        eprint!("{}", diagnostic["rendered"].as_str().unwrap_or_default());
    }
}

fn executable(artifact: &Value) -> Option<Executable> {
    let manifest = Path::new(artifact["manifest_path"].as_str()?);
    Some(Executable {
        path: artifact["executable"].as_str()?.into(),
        package: manifest.parent()?.into(),
        is_test: artifact["profile"]["test"] == true,
        name: artifact["target"]["name"].as_str()?.into(),
    })
}
