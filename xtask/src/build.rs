//! `cargo xtask build`: the BPF object, then the userspace binary with the object embedded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    bpf_core::{self, TARGET},
    cargo::{self, Built},
    cross, linker,
    setup::{self, Scope},
    workspace,
};

/// The name of the BPF crate's binary.
const BPF_BINARY: &str = "offheap-bpf";

#[derive(clap::Args)]
pub struct Args {
    /// Optimize, and leave the binary in target/release
    #[arg(long)]
    release: bool,
    /// Build for another machine
    #[arg(long, value_name = "TRIPLE", value_parser = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])]
    target: Option<String>,
}

/// How the userspace binary is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

pub fn run(args: &Args) -> Result<()> {
    setup::ensure(Scope::Build)?;
    let profile = if args.release {
        Profile::Release
    } else {
        Profile::Dev
    };
    let binary = offheap(profile, args.target.as_deref())?;
    println!("{}", binary.display());
    Ok(())
}

/// Builds the offheap binary with the BPF object in it, for this machine or for `target`, and returns its path.
///
/// Expects that [`setup::ensure`] has passed.
pub fn offheap(profile: Profile, target: Option<&str>) -> Result<PathBuf> {
    let mut command = cargo::host();
    command.args(["build", "--package", "offheap"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    if let Some(target) = target {
        command.args(["--target", target]);
        cross::prepare(&mut command, target)?;
    }
    bpf(architecture(target))?;
    let built = cargo::build(&mut command)?;
    let binary = built
        .executables
        .into_iter()
        .find(|built| built.name == "offheap");
    binary
        .map(|built| built.path)
        .context("cargo built no binary called offheap")
}

/// The architecture that a triple is for; this machine's without one.
pub fn architecture(triple: Option<&str>) -> &str {
    triple
        .and_then(|triple| triple.split('-').next())
        .unwrap_or(std::env::consts::ARCH)
}

/// Builds the BPF programs for `arch` and puts the object where the userspace build embeds it from.
///
/// The object's file is left alone when its content is the same, so that nothing is compiled again because of it.
pub fn bpf(arch: &str) -> Result<Built> {
    let core = bpf_core::find().context("no core library for BPF: run `cargo xtask setup`")?;
    let linker = linker::find().context("no bpf-linker: run `cargo xtask setup`")?;
    let mut command = core.cargo_build()?;
    command
        .args(["--release", "--target", TARGET])
        .env("CARGO_TARGET_DIR", workspace::bpf_build());
    command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(arch));
    let built = cargo::build(&mut command)?;
    let Some(object) = built
        .executables
        .iter()
        .find(|built| built.name == BPF_BINARY)
    else {
        bail!("the crate in tracer-ebpf/ has no binary called {BPF_BINARY}");
    };
    copy_if_changed(&object.path, &workspace::bpf_object(arch))?;
    Ok(built)
}

/// The compiler's flags, in the encoding of CARGO_ENCODED_RUSTFLAGS.
///
/// aya-ebpf chooses the layout of `pt_regs` by `bpf_target_arch`; BTF is made of the debug information.
fn flags(arch: &str) -> String {
    let arch = format!("--cfg=bpf_target_arch=\"{arch}\"");
    [arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f")
}

/// Copies `from` to `to` by an atomic rename, unless both have the same content.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let folder = to
        .parent()
        .with_context(|| format!("{} has no folder", to.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let new = to.with_extension(format!("new.{}", std::process::id()));
    fs::write(&new, content).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, to)
        .with_context(|| format!("cannot rename {} to {}", new.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The BPF flags name the architecture of the userspace target.
    #[test]
    fn flags_follow_the_target() {
        assert_eq!(architecture(Some("aarch64-unknown-linux-gnu")), "aarch64");
        assert!(flags("aarch64").starts_with("--cfg=bpf_target_arch=\"aarch64\"\x1f-C"));
    }

    /// An object with the same content keeps its time stamp; a changed one replaces it and leaves nothing beside it.
    #[test]
    fn an_unchanged_object_is_left_alone() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("offheap-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let (from, to) = (folder.join("built"), folder.join("x/object.o"));
        fs::write(&from, "one")?;
        copy_if_changed(&from, &to)?;
        let before = fs::metadata(&to)?.modified()?;
        copy_if_changed(&from, &to)?;
        assert_eq!(fs::metadata(&to)?.modified()?, before);
        fs::write(&from, "two")?;
        copy_if_changed(&from, &to)?;
        assert_eq!(fs::read_to_string(&to)?, "two");
        assert_eq!(fs::read_dir(folder.join("x"))?.count(), 1);
        Ok(fs::remove_dir_all(&folder)?)
    }
}
