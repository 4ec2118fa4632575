//! `cargo xtask setup --check`.

use anyhow::Result;

use super::{Scope, remedy::remedy, unmet};
use crate::{bpf_core, host::Refused, linker, packages::TEST_EXTRAS};

/// `--check`: one line per need, and 3 if one that is required is missing.
pub fn print() -> Result<()> {
    let required = Scope::Tests.required();
    for need in required.iter().copied().chain(TEST_EXTRAS) {
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
