//! `cargo xtask setup`: from Rust and nothing else to where everything builds.
//!
//! Says what it installs and why before it does. Where it may not install, it says what to run and exits with 3.

mod remedy;
mod report;

use std::process::Command;

use anyhow::Result;

use self::remedy::{give_up, note_extras};
use crate::{
    apt, bpf_core,
    host::{self, Privilege},
    jdk, linker,
    packages::{self, BPF_CORE, JDK, LINKER, Need, TEST_EXTRAS},
    process,
};

#[derive(clap::Args)]
pub struct Args {
    /// Only report what is there and what is missing
    #[arg(long)]
    check: bool,
    /// Also download the JDKs that `test` compares
    #[arg(long, conflicts_with = "check")]
    jdks: bool,
}

/// How much has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What builds offheap.
    Build,
    /// And what runs the demo.
    Demo,
    /// And what the tests use; a missing extra skips tests and is not an error.
    Tests,
}

impl Scope {
    fn required(self) -> Vec<&'static Need> {
        let jdk = (self >= Self::Demo).then_some(&JDK);
        [&LINKER, &BPF_CORE].into_iter().chain(jdk).collect()
    }

    fn extras(self) -> &'static [Need] {
        if self == Self::Tests {
            TEST_EXTRAS
        } else {
            &[]
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    if args.check {
        return report::print();
    }
    ensure(Scope::Tests)?;
    if args.jdks {
        jdk::ensure()?;
    }
    println!("set-up complete");
    Ok(())
}

/// Installs what `scope` lacks; quiet and quick when it lacks nothing.
pub fn ensure(scope: Scope) -> Result<()> {
    if !(BPF_CORE.met)() {
        add_rust_source();
    }
    let missing = unmet(scope.required());
    let extras = unmet(scope.extras());
    if !missing.is_empty() || !extras.is_empty() {
        install(&missing, &extras)?;
    }
    if linker::find().is_none() {
        eprintln!("installing bpf-linker into target/tools: it links the BPF programs");
        linker::install()?;
    }
    Ok(())
}

fn unmet(needs: impl IntoIterator<Item = &'static Need>) -> Vec<&'static Need> {
    needs.into_iter().filter(|need| !(need.met)()).collect()
}

/// Completes a nightly toolchain that is there already; where that fails, packages are the other way.
fn add_rust_source() {
    if bpf_core::nightly().is_none() || process::find_in_path("rustup").is_none() {
        return;
    }
    eprintln!(
        "adding rust-src to rustup's nightly: the probes need {}",
        BPF_CORE.what
    );
    let mut command = Command::new("rustup");
    command.args(["component", "add", "rust-src", "--toolchain", "nightly"]);
    if let Err(error) = process::run(&mut command) {
        eprintln!("note: {error:#}; trying the distribution's packages");
    }
}

/// Installs the packages of both lists; only what is `missing` can make it fail.
fn install(missing: &[&'static Need], extras: &[&'static Need]) -> Result<()> {
    if let Some(obstacle) = obstacle() {
        return give_up(obstacle, missing, extras);
    }
    if install_known(missing, Refresh::WhenIncomplete)? < missing.len() {
        return give_up("no package source has it", missing, &[]);
    }
    let still = unmet(missing.iter().copied());
    if !still.is_empty() {
        return give_up("the installed packages did not bring it", &still, &[]);
    }
    if let Err(error) = install_known(extras, Refresh::WhenNone) {
        eprintln!("note: {error:#}");
    }
    note_extras(&unmet(extras.iter().copied()));
    Ok(())
}

/// Why nothing can be installed here.
fn obstacle() -> Option<&'static str> {
    if !apt::is_there() {
        return Some("there is no apt-get to install it with");
    }
    (host::privilege() == Privilege::None)
        .then_some("installing it needs root, and there is no sudo")
}

/// When the package lists are fetched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refresh {
    /// When they lack something that is needed.
    WhenIncomplete,
    /// When there are none: an extra that no source has must not fetch them on each run.
    WhenNone,
}

/// Installs what the package sources have of `needs`, and returns how many of them that is.
fn install_known(needs: &[&'static Need], refresh: Refresh) -> Result<usize> {
    let mut found = resolve(needs)?;
    let stale = if refresh == Refresh::WhenIncomplete {
        found.len() < needs.len()
    } else {
        apt::has_no_lists()
    };
    if stale && !needs.is_empty() {
        eprintln!("fetching the package lists: they do not name all that is needed");
        apt::update()?;
        found = resolve(needs)?;
    }
    for (need, _) in &found {
        eprintln!("installing {}: {}", need.what, need.why);
    }
    let packages: Vec<_> = found
        .iter()
        .flat_map(|(_, packages)| *packages)
        .copied()
        .collect();
    if !packages.is_empty() {
        apt::install(&packages)?;
    }
    Ok(found.len())
}

/// The packages for each of `needs` that the package lists know some for.
fn resolve(needs: &[&'static Need]) -> Result<Vec<(&'static Need, &'static [&'static str])>> {
    let all: Vec<_> = needs
        .iter()
        .flat_map(|need| need.choices.concat())
        .collect();
    let known = apt::known(&all)?;
    let found = needs
        .iter()
        .filter_map(|need| Some((*need, packages::choose(need, &known)?)));
    Ok(found.collect())
}
