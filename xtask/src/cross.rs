//! Building the userspace binary for another architecture.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{build::architecture, cargo, host::Refused, process};

/// Checks that this machine can compile and link for `target`, and makes `build` do so.
///
/// # Errors
///
/// Names what to install where the target's standard library or its linker is missing.
pub fn prepare(build: &mut Command, target: &str) -> Result<()> {
    let arch = architecture(Some(target));
    if arch == std::env::consts::ARCH {
        return Ok(());
    }
    let mut missing = Vec::new();
    if !has_standard_library(target)? {
        missing.push(format!("rustup target add {target}"));
    }
    let variable = format!(
        "CARGO_TARGET_{}_LINKER",
        target.to_uppercase().replace('-', "_")
    );
    let linker = format!("{arch}-linux-gnu-gcc");
    if std::env::var_os(&variable).is_none() {
        if process::find_in_path(&linker).is_none() {
            let debian = if arch == "x86_64" { "amd64" } else { "arm64" };
            let gcc = arch.replace('_', "-");
            missing.push(format!(
                "apt-get install gcc-{gcc}-linux-gnu libc6-dev-{debian}-cross    (as root)"
            ));
        }
        build.env(variable, linker);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refused(format!(
        "this machine cannot build for {target} yet. Run:\n  {}",
        missing.join("\n  ")
    ))
    .into())
}

fn has_standard_library(target: &str) -> Result<bool> {
    let mut ask = Command::new("rustc");
    ask.args(["--print", "target-libdir", "--target", target]);
    cargo::clean(&mut ask, cargo::describes_a_crate);
    Ok(Path::new(process::output(&mut ask)?.trim()).is_dir())
}
