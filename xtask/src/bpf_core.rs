//! A compiler that has a `core` for `bpfel-unknown-none`.
//!
//! rustup ships none, so it is one of: rustup's nightly with `rust-src`, which builds core from source; the
//! distribution's compiler with a core that is built already (Debian's `libstd-rust-*-dev-bpf`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cargo, process, workspace};

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
        let folder = workspace::bpf_crate();
        let mut command = match self {
            Self::Nightly(toolchain) => {
                let mut command = cargo::foreign(toolchain.join("bin/cargo"), &folder);
                command
                    .env("RUSTC", toolchain.join("bin/rustc"))
                    .args(["build", "-Zbuild-std=core"]);
                command
            }
            Self::Distribution(_) => {
                let mut command = cargo::foreign(cargo::own(), &folder);
                // aya-ebpf needs unstable features, which a stable compiler accepts only with this variable.
                command
                    .env("RUSTC", DISTRIBUTION_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .arg("build");
                command
            }
        };
        // A wrapper (sccache) that the user's cargo configuration names is for host builds.
        command
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "");
        command.env("LD_LIBRARY_PATH", self.llvm_folder()?);
        Ok(command)
    }

    /// A folder with nothing but a link to this compiler's LLVM.
    ///
    /// bpf-linker loads the first `libLLVM*` that it meets in LD_LIBRARY_PATH and then beside the folders of PATH; a
    /// machine has several, and one older than the compiler's cannot read its bitcode.
    fn llvm_folder(&self) -> Result<PathBuf> {
        let (rustc, sysroot) = match self {
            Self::Nightly(path) => (path.join("bin/rustc"), path),
            Self::Distribution(path) => (PathBuf::from(DISTRIBUTION_RUSTC), path),
        };
        let about = process::output(
            Command::new(&rustc)
                .arg("-vV")
                .env_remove("LD_LIBRARY_PATH"),
        )?;
        let version = llvm_version(&about)
            .with_context(|| format!("{} -vV names no LLVM version", rustc.display()))?;
        let Some(library) = find_llvm(sysroot, version) else {
            bail!(
                "no libLLVM {}.{} beside {}: reinstall the compiler",
                version.0,
                version.1,
                rustc.display()
            );
        };
        let folder = workspace::tools()
            .join("llvm")
            .join(format!("{}.{}", version.0, version.1));
        link(&library, &folder.join("libLLVM.so"))?;
        Ok(folder)
    }
}

fn link(library: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|there| there == library) {
        return Ok(());
    }
    let folder = link.parent().context("the link to LLVM has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let _ = fs::remove_file(link);
    std::os::unix::fs::symlink(library, link)
        .with_context(|| format!("cannot create {}", link.display()))
}

/// The shared LLVM of `version` in the places where rustup and distributions keep it.
fn find_llvm(sysroot: &Path, version: (u32, u32)) -> Option<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let folders = [
        sysroot.join("lib"),
        multiarch.into(),
        "/usr/lib64".into(),
        "/usr/lib".into(),
    ];
    let files = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    let mut matches = files.filter(|file| {
        file.file_name()
            .to_str()
            .is_some_and(|name| is_llvm(name, version))
    });
    matches.find_map(|file| {
        fs::canonicalize(file.path())
            .ok()
            .filter(|path| is_elf(path))
    })
}

/// rustup's `libLLVM-22-rust-*.so` is a linker script, not a library.
fn is_elf(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == *b"\x7fELF"
}

/// `LLVM version: 22.1.8` of `rustc -vV`, as major and minor.
fn llvm_version(about: &str) -> Option<(u32, u32)> {
    let line = about
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    let mut parts = line.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Both naming schemes: `libLLVM.so.22.1`, also with a suffix of rustup's, and `libLLVM-22.so`.
fn is_llvm(file: &str, (major, minor): (u32, u32)) -> bool {
    let ends_number = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
    let new = file.strip_prefix(&format!("libLLVM.so.{major}.{minor}"));
    let old = file.strip_prefix(&format!("libLLVM-{major}"));
    new.or(old).is_some_and(ends_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The LLVM of the compiler is told from others of the same machine, in both naming schemes.
    #[test]
    fn llvm_is_recognized_by_name() {
        let about = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_version(about), Some((22, 1)));
        let found: Vec<_> = [
            "libLLVM.so.22.1",
            "libLLVM.so.22.1-rust-1.95.0-stable",
            "libLLVM-22.so",
            "libLLVM.so.22.10",
            "libLLVM-14.so.1",
            "libLLVM-220.so",
        ]
        .into_iter()
        .filter(|name| is_llvm(name, (22, 1)))
        .collect();
        assert_eq!(
            found,
            [
                "libLLVM.so.22.1",
                "libLLVM.so.22.1-rust-1.95.0-stable",
                "libLLVM-22.so"
            ]
        );
    }
}
