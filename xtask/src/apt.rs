//! Debian's and Ubuntu's package manager.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::Result;

use crate::{host, process};

/// Whether this machine has it.
pub fn is_there() -> bool {
    ["apt-get", "apt-cache"]
        .iter()
        .all(|program| process::find_in_path(program).is_some())
}

/// Those of `packages` that the machine's package lists can install.
pub fn known(packages: &[&str]) -> Result<BTreeSet<String>> {
    let mut policy = Command::new("apt-cache");
    // The words of the answer are translated elsewhere.
    policy.env("LC_ALL", "C").arg("policy").args(packages);
    Ok(with_candidate(&process::output(&mut policy)?))
}

/// Whether the package lists were never fetched, as in a fresh container.
pub fn has_no_lists() -> bool {
    let Ok(lists) = fs::read_dir("/var/lib/apt/lists") else {
        return true;
    };
    !lists
        .flatten()
        .any(|file| file.file_name().to_string_lossy().contains("_Packages"))
}

/// Fetches the package lists.
pub fn update() -> Result<()> {
    apt_get(&["update", "-q"])
}

/// Installs `packages`; fetches the lists and tries again if the lists name files that are gone.
pub fn install(packages: &[&str]) -> Result<()> {
    let arguments = install_arguments(packages);
    if apt_get(&arguments).is_ok() {
        return Ok(());
    }
    eprintln!("the package lists may be old: fetching them and trying once more");
    update()?;
    apt_get(&arguments)
}

/// The installing command line, for root to type.
pub fn install_line(packages: &[&str]) -> String {
    let mut command = Command::new("apt-get");
    command.args(install_arguments(packages));
    format!("apt-get update && {}", process::line(&command))
}

/// Nothing that is installed may be removed for it: a distribution's `rustup` conflicts with its `rustc`.
fn install_arguments<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["install", "-y", "--no-install-recommends", "--no-remove"];
    arguments.extend(packages);
    arguments
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let environment = [("DEBIAN_FRONTEND", "noninteractive".to_owned())];
    let mut command = host::as_root("apt-get", &environment)?;
    process::run(command.args(arguments))
}

/// The packages in the output of `apt-cache policy` whose candidate is a version.
fn with_candidate(policy: &str) -> BTreeSet<String> {
    candidates(policy)
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

/// Names and versions of those packages in the output of `apt-cache policy` that can be installed.
pub fn candidates(policy: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut package = None;
    for line in policy.lines() {
        if !line.starts_with(' ') {
            package = line.strip_suffix(':');
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ") {
            let name = package.filter(|_| version != "(none)");
            found.extend(name.map(|name| (name.to_owned(), version.to_owned())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package counts as known only with an installable version: names that others merely mention have none.
    #[test]
    fn only_candidates_are_known() {
        let policy = "\
rustc-web:
  Installed: (none)
  Candidate: 1.96.0+dfsg1-1~deb12u2
  Version table:
     1.96.0+dfsg1-1~deb12u2 500
libstd-rust-dev-bpf:
  Installed: (none)
  Candidate: (none)
  Version table:
";
        assert_eq!(
            with_candidate(policy),
            BTreeSet::from(["rustc-web".to_owned()])
        );
    }

    /// The line to paste fetches the lists first and takes nothing away.
    #[test]
    fn the_line_to_type_is_whole() {
        let line = install_line(&["gcc"]);
        assert_eq!(
            line,
            "apt-get update && apt-get install -y --no-install-recommends --no-remove gcc"
        );
    }
}
