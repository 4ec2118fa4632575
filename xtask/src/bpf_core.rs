//! A compiler that has a `core` for `bpfel-unknown-none`.
//!
//! rustup ships none, so it is one of: rustup's nightly with `rust-src`, which builds core from source; the
//! distribution's compiler with a core that is built already (Debian's `libstd-rust-*-dev-bpf`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{cargo, llvm, process, workspace};

/// The BPF target; its byte order is that of both architectures that offheap runs on.
pub const TARGET: &str = "bpfel-unknown-none";

const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// Where the BPF build takes its compiler and its core library from.
#[derive(Debug)]
pub enum Core {
    /// rustup's nightly at this path, with `rust-src`.
    Nightly(PathBuf),
    /// The distribution's compiler, with its sysroot at this path.
    Distribution(PathBuf),
}

/// What this machine has, the preferred source first.
pub fn find() -> Option<Core> {
    let nightly = nightly()
        .filter(|toolchain| has_source(toolchain))
        .map(Core::Nightly);
    nightly.or_else(|| distribution().map(Core::Distribution))
}

/// rustup's nightly for this machine, with or without `rust-src`.
pub fn nightly() -> Option<PathBuf> {
    let set = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = set.or_else(|| std::env::home_dir().map(|home| home.join(".rustup")))?;
    let libc = if cfg!(target_env = "musl") {
        "musl"
    } else {
        "gnu"
    };
    let name = format!("nightly-{}-unknown-linux-{libc}", std::env::consts::ARCH);
    Some(home.join("toolchains").join(name))
        .filter(|toolchain| process::is_executable(&toolchain.join("bin/cargo")))
}

fn has_source(toolchain: &Path) -> bool {
    toolchain
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

/// The sysroot of the distribution's compiler, if it has a core for BPF.
fn distribution() -> Option<PathBuf> {
    let mut ask = Command::new(DISTRIBUTION_RUSTC);
    // Where this is rustup's own proxy, a toolchain must not be downloaded just for the question.
    ask.args(["--print", "sysroot"])
        .env_remove("LD_LIBRARY_PATH")
        .env("RUSTUP_AUTO_INSTALL", "0");
    let sysroot = PathBuf::from(process::output(&mut ask).ok()?.trim());
    let libraries = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")).ok()?;
    let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
    libraries
        .flatten()
        .any(|file| file.file_name().to_str().is_some_and(is_core))
        .then_some(sysroot)
}

impl Core {
    /// In words, for a report.
    pub fn describe(&self) -> String {
        match self {
            Self::Nightly(path) => format!("rustup's nightly with rust-src, {}", path.display()),
            Self::Distribution(_) => format!("the distribution's {DISTRIBUTION_RUSTC}"),
        }
    }

    /// `cargo build` of the BPF crate with this compiler, undisturbed by the caller's environment.
    pub fn cargo_build(&self) -> Result<Command> {
        let (cargo, rustc, sysroot) = match self {
            Self::Nightly(path) => (path.join("bin/cargo").into(), path.join("bin/rustc"), path),
            Self::Distribution(path) => (cargo::own(), DISTRIBUTION_RUSTC.into(), path),
        };
        let mut command = cargo::foreign(cargo, &workspace::bpf_crate());
        command.arg("build").env("RUSTC", &rustc);
        match self {
            Self::Nightly(_) => command.arg("-Zbuild-std=core"),
            // aya-ebpf needs unstable features, which a stable compiler accepts only with this variable.
            Self::Distribution(_) => command.env("RUSTC_BOOTSTRAP", "1"),
        };
        // A wrapper (sccache) that the user's cargo configuration names is for host builds.
        command
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "");
        command.env("LD_LIBRARY_PATH", llvm::folder(&rustc, sysroot)?);
        Ok(command)
    }
}
