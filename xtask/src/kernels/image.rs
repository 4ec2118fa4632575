//! A kernel of a Debian release and what it boots with, below `target/kernels`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cpio::Archive, guest};
use crate::{
    debian::archive::{self, Root},
    process, workspace,
};

/// The package that depends on the newest kernel for virtual machines.
const NEWEST: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "busybox-static";
/// What the machine mounts its root with, in the order in which they need each other. A kernel has some of them built in,
/// or does without.
const MODULES: [&str; 8] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
    "overlay",
];
/// Says that the folder is whole, and what was unpacked.
const STAMP: &str = "versions";

pub struct Image {
    folder: PathBuf,
    /// As `uname -r`.
    pub release: String,
}

impl Image {
    /// Downloads and unpacks the kernel of `suite` if that was not done.
    pub fn ensure(suite: &str) -> Result<Image> {
        let folder = workspace::target().join("kernels").join(suite);
        if !folder.join(STAMP).is_file() {
            eprintln!(
                "downloading the kernel of Debian {suite} into target/kernels: tests run on it"
            );
            let root = Root {
                suite,
                packages: &[],
                needed: &[BUSYBOX],
                newest: Some(NEWEST),
            };
            root.unpack(&folder, |root, packages| {
                archive::write(&root.join(STAMP), &(packages.join("\n") + "\n"))
            })
            .with_context(|| format!("cannot get the kernel of Debian {suite}"))?;
        }
        let release = release(&folder.join("boot")).context("the package has no kernel")?;
        Ok(Image { folder, release })
    }

    pub fn kernel(&self) -> PathBuf {
        self.folder
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    /// Writes the file system that the kernel starts with, with `tests` as the script that it runs.
    pub fn initramfs(&self, tests: &str) -> Result<PathBuf> {
        let mut archive = Archive::default();
        for name in [
            "bin", "modules", "proc", "sys", "dev", "host", "memory", "root",
        ] {
            archive.folder(name);
        }
        archive.program("bin/busybox", &self.busybox()?);
        for (index, name) in MODULES.iter().enumerate() {
            if let Some(module) = self.module(name)? {
                archive.program(&format!("modules/{index}-{name}.ko"), &module);
            }
        }
        archive.program("init", guest::init().as_bytes());
        archive.program("tests", tests.as_bytes());
        let file = self.folder.join("initramfs");
        fs::write(&file, archive.finish())
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    fn busybox(&self) -> Result<Vec<u8>> {
        let places = ["bin/busybox", "usr/bin/busybox"].map(|place| self.folder.join(place));
        let read = places.iter().find_map(|place| fs::read(place).ok());
        read.with_context(|| format!("{BUSYBOX} has no busybox"))
    }

    /// A module, unpacked; none where the kernel has it built in.
    fn module(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let places = ["lib/modules", "usr/lib/modules"]
            .map(|place| self.folder.join(place).join(&self.release).join("kernel"));
        let found = places.iter().find_map(|folder| find(folder, name));
        found.map(|file| unpacked(&file)).transpose()
    }
}

fn release(boot: &Path) -> Option<String> {
    let names = fs::read_dir(boot)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name());
    let mut names = names.filter_map(|name| name.into_string().ok());
    names.find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
}

/// The file of the module `name` somewhere below `folder`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    let is_it = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.and_then(|file| file.split_once(".ko"))
            .is_some_and(|(stem, _)| stem == name)
    };
    if let Some(found) = entries.iter().find(|path| is_it(path)) {
        return Some(found.clone());
    }
    entries
        .iter()
        .filter(|path| path.is_dir())
        .find_map(|folder| find(folder, name))
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    let mut unpack = Command::new(program);
    process::bytes(unpack.args(["-q", "-d", "-c"]).arg(file))
}
