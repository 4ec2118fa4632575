//! The LLVM that belongs to a compiler.
//!
//! bpf-linker loads the first `libLLVM*` that it meets in LD_LIBRARY_PATH and then beside the folders of PATH. A
//! machine has several, and one that is older than the compiler's cannot read its bitcode.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

/// A folder with nothing in it but a link to the LLVM of `rustc`, whose sysroot is `sysroot`.
pub fn folder(rustc: &Path, sysroot: &Path) -> Result<PathBuf> {
    let about = process::output(Command::new(rustc).arg("-vV").env_remove("LD_LIBRARY_PATH"))?;
    let (major, minor) = version(&about)
        .with_context(|| format!("{} -vV names no LLVM version", rustc.display()))?;
    let Some(library) = find(sysroot, (major, minor)) else {
        bail!(
            "no libLLVM {major}.{minor} beside {}: reinstall the compiler",
            rustc.display()
        );
    };
    let folder = workspace::tools()
        .join("llvm")
        .join(format!("{major}.{minor}"));
    link(&library, &folder.join("libLLVM.so"))?;
    Ok(folder)
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
fn find(sysroot: &Path, version: (u32, u32)) -> Option<PathBuf> {
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
            .is_some_and(|name| is_named(name, version))
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
fn version(about: &str) -> Option<(u32, u32)> {
    let line = about
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    let mut parts = line.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Both naming schemes: `libLLVM.so.22.1`, also with a suffix of rustup's, and `libLLVM-22.so`.
fn is_named(file: &str, (major, minor): (u32, u32)) -> bool {
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
        assert_eq!(version(about), Some((22, 1)));
        let found: Vec<_> = [
            "libLLVM.so.22.1",
            "libLLVM.so.22.1-rust-1.95.0-stable",
            "libLLVM-22.so",
            "libLLVM.so.22.10",
            "libLLVM-14.so.1",
            "libLLVM-220.so",
        ]
        .into_iter()
        .filter(|name| is_named(name, (22, 1)))
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
