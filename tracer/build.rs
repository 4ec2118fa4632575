//! Embeds the BPF object that `cargo xtask build` has put under `target/bpf`.
//!
//! Where it was never built, an empty file stands in for it, so that the userspace code can be checked and tested without
//! a BPF toolchain; such a binary says so when it is asked to trace.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let object = manifest
        .join("../target/bpf")
        .join(arch)
        .join("offheap.bpf.o");
    // Cargo would run this script at every build if the file that it watches did not exist.
    if !object.exists() {
        fs::create_dir_all(object.parent().unwrap_or(Path::new(".")))?;
        fs::write(&object, [])?;
    }
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=OFFHEAP_BPF_OBJECT={}", object.display());
    Ok(())
}
