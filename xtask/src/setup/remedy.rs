//! What set-up says where it may not or cannot install something.

use std::{fmt::Write as _, fs};

use anyhow::Result;

use crate::{
    apt,
    host::Refused,
    packages::{self, BPF_CORE, Need},
};

/// An error with what to run, unless only extras are missing.
pub fn give_up(reason: &str, missing: &[&Need], extras: &[&Need]) -> Result<()> {
    if missing.is_empty() {
        note_extras(extras);
        return Ok(());
    }
    let mut text = String::from("this machine lacks");
    for need in missing {
        let _ = write!(text, "\n  {}: {}", need.what, need.why);
    }
    let _ = write!(text, "\n{reason}. {}", remedy(missing));
    Err(Refused(text).into())
}

/// Says which tests will be skipped, and what would change that.
pub fn note_extras(extras: &[&Need]) {
    if extras.is_empty() {
        return;
    }
    for need in extras {
        eprintln!(
            "note: no {}, tests that need it are skipped ({})",
            need.what, need.why
        );
    }
    eprintln!("{}", remedy(extras));
}

/// What to type, as far as that is known.
pub fn remedy(needs: &[&Need]) -> String {
    let packages = packages(needs);
    let mut text = if packages.is_empty() {
        "Install it with this system's own means".to_owned()
    } else {
        format!("Run as root:\n  {}", apt::install_line(&packages))
    };
    if needs.iter().any(|need| need.what == BPF_CORE.what) {
        text.push_str("\nor, for the core library, without root:\n  ");
        text.push_str("rustup toolchain install nightly --profile minimal --component rust-src");
    }
    text
}

/// The packages to name; none for what no package brings.
fn packages(needs: &[&Need]) -> Vec<&'static str> {
    if !apt::is_there() {
        return Vec::new();
    }
    let names: Vec<_> = needs
        .iter()
        .flat_map(|need| need.choices.concat())
        .collect();
    let known = apt::known(&names).unwrap_or_default();
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let guess = |need| apt::has_no_lists().then(|| packages::usual(need, &os_release));
    let chosen = needs
        .iter()
        .filter_map(|need| packages::choose(need, &known).or_else(|| guess(need)));
    chosen.flatten().copied().collect()
}
