//! C libraries, allocators and zlib of Debian's other releases, which `cargo xtask test` has unpacked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::session::skip;

/// Folders of shared libraries in a root folder: Debian's and musl's.
const FOLDERS: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-musl",
    "lib/x86_64-linux-musl",
];
const LOADER: &str = "ld-linux-x86-64.so.2";

/// One release's root folder.
#[derive(Debug)]
pub struct Release {
    /// `trixie`.
    pub name: String,
    root: PathBuf,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Those that there are, printed with the versions of what they have. None, with the reason printed, where there is none.
///
/// # Panics
/// A folder that `OFFHEAP_LIBRARIES` names can't be read.
pub fn releases() -> Vec<Release> {
    let Some(folder) = std::env::var_os("OFFHEAP_LIBRARIES") else {
        skip(
            "libraries of Debian's other releases (OFFHEAP_LIBRARIES; `cargo xtask test` has them)",
        );
        return Vec::new();
    };
    let entries = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", Path::new(&folder).display()));
    let mut releases: Vec<Release> = entries
        .flatten()
        .filter(|entry| entry.path().join("versions").is_file())
        .map(|entry| Release {
            name: entry.file_name().to_string_lossy().into_owned(),
            root: entry.path(),
        })
        .collect();
    releases.sort_by(|a, b| a.name.cmp(&b.name));
    for release in &releases {
        let versions = fs::read_to_string(release.root.join("versions")).unwrap_or_default();
        println!("{release}: {}", versions.replace('\n', " "));
    }
    releases
}

impl Release {
    /// All shared libraries that are files of their own and no links.
    pub fn libraries(&self) -> Vec<PathBuf> {
        let files = FOLDERS
            .iter()
            .filter_map(|folder| fs::read_dir(self.root.join(folder)).ok());
        let mut files: Vec<PathBuf> = files
            .flat_map(|folder| folder.flatten())
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter(|entry| entry.file_name().to_string_lossy().contains(".so"))
            .map(|entry| entry.path())
            .collect();
        files.sort();
        // Where the one folder is a link to the other.
        files.dedup_by_key(|file| fs::canonicalize(file).ok());
        files
    }

    /// The shared library of this name, if the release has it.
    pub fn library(&self, name: &str) -> Option<PathBuf> {
        let mut places = FOLDERS
            .iter()
            .map(|folder| self.root.join(folder).join(name));
        places.find(|file| file.is_file())
    }

    /// Runs `program` with this release's libraries, by its own dynamic linker. None where its C library is older than the
    /// one that the program was linked with.
    pub fn command(&self, program: &Path, preloaded: Option<&Path>) -> Option<Command> {
        let mut command = Command::new(self.library(LOADER)?);
        let folders = FOLDERS[..2].iter().map(|folder| self.root.join(folder));
        let folders: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
        command.arg("--library-path").arg(folders.join(":"));
        let mut verify = Command::new(self.library(LOADER)?);
        verify.args(command.get_args()).arg("--list").arg(program);
        let output = verify.output().ok()?;
        // Old ones complain about a missing version and are content all the same.
        let complaint = String::from_utf8_lossy(&output.stderr).contains("not found");
        if complaint || !output.status.success() {
            return None;
        }
        if let Some(library) = preloaded {
            command.arg("--preload").arg(library);
        }
        command.arg(program);
        Some(command)
    }
}
