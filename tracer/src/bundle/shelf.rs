//! A folder of bundles as a reader sees it: what is there, and its files.
//!
//! Names come from whoever asks. Only names of bundles and of their files lead anywhere, nothing is followed that is a
//! symbolic link, and everything happens below the folder that was opened at the start.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;

use super::folder::Folder;
use super::{FORMATS, explain_reading};
use crate::report::Format;

/// Most bundles that are listed.
const MOST: usize = 10_000;

/// An open folder of bundles, or one bundle.
pub struct Shelf {
    folder: Folder,
}

/// What one bundle has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Its folder's name; empty for the shelf's own.
    pub name: String,
    /// The files that are there, and their bytes.
    pub files: Vec<(Format, u64)>,
    /// When its capture was written.
    pub written: SystemTime,
}

impl Shelf {
    /// Opens the folder; the user's way there may have links.
    ///
    /// # Errors
    /// It is not there, is no folder, or may not be read.
    pub fn open(dir: &Path) -> Result<Self> {
        Folder::open_parent(dir)
            .map(|folder| Shelf { folder })
            .map_err(|error| explain_reading(&error, dir))
    }

    /// The bundles, the newest first. What has no `capture.json` is none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn bundles(&self) -> io::Result<Vec<Bundle>> {
        let mut bundles = Vec::new();
        bundles.extend(bundle(&self.folder, String::new()));
        for entry in std::fs::read_dir(self.folder.through_handle())?.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if let Some(folder) = self.folder_of(&name) {
                bundles.extend(bundle(&folder, name));
            }
            if bundles.len() >= MOST {
                break;
            }
        }
        bundles.sort_by(|a, b| (b.written, &b.name).cmp(&(a.written, &a.name)));
        Ok(bundles)
    }

    /// Opens a file of a bundle, and says how big it is. None where there is no such thing.
    pub fn file(&self, bundle: &str, format: Format) -> Option<(File, u64)> {
        match bundle {
            "" => regular(&self.folder, format),
            name => regular(&self.folder_of(name)?, format),
        }
    }

    /// The folder of a bundle: one level below, visible, and no link.
    fn folder_of(&self, name: &str) -> Option<Folder> {
        let one_level = !name.contains(['/', '\0']) && !name.starts_with('.') && !name.is_empty();
        one_level
            .then(|| Folder::open(&self.folder.entry(OsStr::new(name))).ok())
            .flatten()
    }
}

fn bundle(folder: &Folder, name: String) -> Option<Bundle> {
    let (capture, _) = regular(folder, Format::Json)?;
    let written = capture.metadata().ok()?.modified().ok()?;
    let files = FORMATS
        .iter()
        .filter_map(|format| Some((*format, regular(folder, *format)?.1)));
    Some(Bundle {
        name,
        files: files.collect(),
        written,
    })
}

/// Without blocking, since somebody may have put a pipe there.
fn regular(folder: &Folder, format: Format) -> Option<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(folder.entry(format.file_name()))
        .ok()?;
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some((file, metadata.len()))
}
