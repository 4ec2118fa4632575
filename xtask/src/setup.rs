//! `cargo xtask setup`: from Rust and nothing else to where everything builds.
//!
//! Says what it installs and why before it does. Where it may not install, it says what to run and exits with 3.

mod remedy;

use std::process::Command;

use anyhow::Result;

use self::remedy::{give_up, note_extras, remedy};
use crate::{
    apt, bpf_core,
    host::{self, Privilege, Refused},
    linker,
    packages::{self, BPF_CORE, JDK, LINKER, Need, TEST_EXTRAS},
    process,
};

#[derive(clap::Args)]
pub struct Args {
    /// Only report what is there and what is missing
    #[arg(long)]
    check: bool,
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
            &TEST_EXTRAS
        } else {
            &[]
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    if args.check {
        return report();
    }
    ensure(Scope::Tests)?;
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
    let mut packages = resolve(missing, extras)?;
    if packages.covered < missing.len() || apt::has_no_lists() {
        eprintln!("fetching the package lists: they do not name all that is needed");
        apt::update()?;
        packages = resolve(missing, extras)?;
    }
    if packages.covered < missing.len() {
        return give_up("no package source has it", missing, extras);
    }
    announce(missing, extras);
    if !packages.names.is_empty() {
        apt::install(&packages.names)?;
    }
    let still = unmet(missing.iter().copied());
    if !still.is_empty() {
        return give_up("the installed packages did not bring it", &still, &[]);
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

/// What to install.
struct Packages {
    names: Vec<&'static str>,
    /// How many of the missing needs the names bring.
    covered: usize,
}

fn resolve(missing: &[&'static Need], extras: &[&'static Need]) -> Result<Packages> {
    let all: Vec<_> = missing
        .iter()
        .chain(extras)
        .flat_map(|need| need.choices.concat())
        .collect();
    let known = apt::known(&all)?;
    let choose = |needs: &[&'static Need]| -> Vec<_> {
        needs
            .iter()
            .filter_map(|need| packages::choose(need, &known))
            .collect()
    };
    let required = choose(missing);
    let names = [required.concat(), choose(extras).concat()].concat();
    Ok(Packages {
        names,
        covered: required.len(),
    })
}

fn announce(missing: &[&Need], extras: &[&Need]) {
    for need in missing.iter().chain(extras) {
        eprintln!("installing {}: {}", need.what, need.why);
    }
}

/// `--check`: one line per need, and 3 if one that is required is missing.
fn report() -> Result<()> {
    let required = Scope::Tests.required();
    for need in required.iter().copied().chain(&TEST_EXTRAS) {
        println!(
            "{} {}: {}",
            if (need.met)() { "ok     " } else { "missing" },
            need.what,
            need.why
        );
    }
    match bpf_core::find() {
        Some(core) => println!("        the BPF build takes {}", core.describe()),
        None => println!("        the BPF build has no compiler to take"),
    }
    match linker::find() {
        Some(path) => println!("ok      bpf-linker: {}", path.display()),
        None => println!("missing bpf-linker: set-up builds it into target/tools"),
    }
    let missing = unmet(required);
    if missing.is_empty() && linker::find().is_some() {
        return Ok(());
    }
    let remedy = if missing.is_empty() {
        String::new()
    } else {
        format!(", or:\n{}", remedy(&missing))
    };
    Err(Refused(format!(
        "set-up is not complete: run `cargo xtask setup`{remedy}"
    ))
    .into())
}
