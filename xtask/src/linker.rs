//! bpf-linker: makes one BPF object of LLVM bitcode.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{cargo, process, workspace};

/// The release to install: later ones need a system LLVM, this one uses the LLVM inside the compiler.
const VERSION: &str = "0.10.3";

/// The oldest release that is accepted where one is there already.
const OLDEST: [u32; 3] = [0, 10, 3];

/// A usable bpf-linker: in PATH, in cargo's folder, or where [`install`] leaves it.
pub fn find() -> Option<PathBuf> {
    let folders = [
        cargo::home().map(|home| home.join("bin")),
        Some(workspace::tools().join("bin")),
    ];
    let installed = folders
        .into_iter()
        .flatten()
        .map(|folder| folder.join("bpf-linker"));
    process::find_in_path("bpf-linker")
        .into_iter()
        .chain(installed)
        .find(|file| is_usable(file))
}

/// Builds bpf-linker into the repository's own folder.
pub fn install() -> Result<PathBuf> {
    let root = workspace::tools();
    let mut command = cargo::host();
    command
        .args(["install", "--locked", "--version", VERSION, "--root"])
        .arg(&root)
        .arg("bpf-linker");
    // Otherwise it would build into, and keep, a folder that the user has set for this workspace.
    command.env_remove("CARGO_TARGET_DIR");
    process::run(&mut command)?;
    match find() {
        Some(linker) => Ok(linker),
        None => bail!(
            "{}/bin/bpf-linker was installed but does not run",
            root.display()
        ),
    }
}

fn is_usable(file: &Path) -> bool {
    let answer = process::output(Command::new(file).arg("--version"));
    answer
        .ok()
        .and_then(|text| version(&text))
        .is_some_and(|version| version >= OLDEST)
}

/// `bpf-linker 0.10.3` as numbers.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text
        .trim()
        .strip_prefix("bpf-linker ")?
        .splitn(3, '.')
        .map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions are compared as numbers: 0.9.15 is older than 0.10.3, and 0.13.0 is not.
    #[test]
    fn versions_compare_as_numbers() {
        let recent = |text: &str| version(text).is_some_and(|version| version >= OLDEST);
        assert!(recent("bpf-linker 0.10.3\n"));
        assert!(recent("bpf-linker 0.13.0\n"));
        assert!(!recent("bpf-linker 0.9.15\n"));
        assert!(!recent("some other program"));
    }
}
