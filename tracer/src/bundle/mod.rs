//! Bundles: a folder with a capture in every form.
//!
//! See `docs/formats/bundle.md`. A bundle appears whole or not at all: a new folder is filled under a hidden name and
//! renamed, a file in a folder that is there already is replaced by a rename. We often run as root in folders of
//! others, so that no symbolic link is followed at the name we were given or below it.

pub(crate) mod folder;
mod series;
mod shelf;

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use crate::capture::Capture;
use crate::report::{Format, Options, render};
use folder::Folder;

pub use series::{Series, Written};
pub use shelf::{Bundle, Shelf};

/// The formats of a bundle; their file names are [`Format::file_name`].
pub const FORMATS: [Format; 6] = [
    Format::Text,
    Format::Html,
    Format::Svg,
    Format::Folded,
    Format::Pprof,
    Format::Json,
];

/// Who bundles are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    /// The user who called sudo (`SUDO_UID`, `SUDO_GID`); none where we are not root.
    pub fn of_invoker() -> Option<Self> {
        // SAFETY: geteuid has no arguments and cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        let id = |name| std::env::var(name).ok()?.parse().ok();
        if root {
            Some(Owner {
                uid: id("SUDO_UID")?,
                gid: id("SUDO_GID")?,
            })
        } else {
            None
        }
    }
}

/// Replaces `%p` by the pid, `%t` by the time (`20260102T030405Z`) and `%%` by a percent sign.
pub fn expand(template: &Path, pid: u32, time: Timestamp) -> PathBuf {
    let mut bytes = template.as_os_str().as_bytes().iter().copied().peekable();
    let mut expanded = Vec::new();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b'p')) => expanded.extend(pid.to_string().bytes()),
            (b'%', Some(b't')) => expanded.extend(compact(time).bytes()),
            (b'%', Some(b'%')) => expanded.push(b'%'),
            _ => {
                expanded.push(byte);
                continue;
            }
        }
        bytes.next();
    }
    PathBuf::from(OsString::from_vec(expanded))
}

/// `20260102T030405Z`: sorts by time, and has no character that a shell or a file system minds.
fn compact(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Finds out before a capture whether a bundle can be written to `dir`.
///
/// # Errors
/// What is in the way, and what to do about it.
pub fn check_writable(dir: &Path) -> Result<()> {
    match Place::of(dir)? {
        Place::Present(folder) => folder.try_out(),
        Place::Absent { parent, .. } => parent.try_out(),
    }
    .map_err(|error| explain(error, dir))
}

/// Writes a bundle: to a new folder as a whole, to a present one file by file.
///
/// # Errors
/// What could not be written, and what to do about it. A new folder is then not there.
pub fn write(dir: &Path, capture: &Capture, options: &Options, owner: Option<Owner>) -> Result<()> {
    match Place::of(dir)? {
        Place::Present(folder) => {
            let options = plain(options);
            for format in FORMATS {
                folder
                    .replace_file(format.file_name(), owner, &mut |out| {
                        render(capture, format, &options, out)
                    })
                    .map_err(|error| explain(error, &dir.join(format.file_name())))?;
            }
            folder.sync().map_err(|error| explain(error, dir))
        }
        Place::Absent { parent, name } => {
            let hidden = prefixed(".", &name, ".partial-");
            write_new(&parent, &hidden, &name, capture, options, owner)
        }
    }
}

/// Fills a folder under a hidden name and gives it its name at the end.
fn write_new(
    parent: &Folder,
    hidden_prefix: &OsStr,
    name: &OsStr,
    capture: &Capture,
    options: &Options,
    owner: Option<Owner>,
) -> Result<()> {
    let at = parent.path().join(name);
    let options = plain(options);
    let partial = parent
        .temporary_folder(hidden_prefix)
        .map_err(|error| explain(error, &at))?;
    for format in FORMATS {
        partial
            .folder()
            .new_file(format.file_name(), owner, &mut |out| {
                render(capture, format, &options, out)
            })
            .map_err(|error| explain(error, &at.join(format.file_name())))?;
    }
    partial
        .keep_as(parent, name, owner)
        .map_err(|error| explain(error, &at))
}

/// Writes a file, or replaces one, as a whole.
///
/// # Errors
/// What could not be written, and what to do about it.
pub fn write_file(
    path: &Path,
    owner: Option<Owner>,
    content: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
) -> Result<()> {
    let name = path
        .file_name()
        .and_then(OsStr::to_str)
        .with_context(|| format!("`{}` names no file", path.display()))?;
    if path.is_dir() {
        bail!("{} is a folder: name a file", path.display());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let folder = Folder::open_parent(parent).map_err(|error| explain(error, parent))?;
    folder
        .replace_file(name, owner, content)
        .and_then(|()| folder.sync())
        .map_err(|error| explain(error, path))
}

/// Files have no colours.
fn plain(options: &Options) -> Options {
    Options {
        color: false,
        ..options.clone()
    }
}

fn prefixed(before: &str, name: &OsStr, after: &str) -> OsString {
    let mut hidden = OsString::from(before);
    hidden.push(name);
    hidden.push(after);
    hidden
}

/// Where a bundle goes.
enum Place {
    Present(Folder),
    Absent { parent: Folder, name: OsString },
}

impl Place {
    fn of(dir: &Path) -> Result<Self> {
        match std::fs::symlink_metadata(dir) {
            Ok(metadata) if metadata.is_dir() => Folder::open(dir)
                .map(Place::Present)
                .map_err(|error| explain(error, dir)),
            Ok(metadata) if metadata.is_symlink() => {
                bail!(
                    "{} is a symbolic link, which is not followed: name the folder itself",
                    dir.display()
                )
            }
            Ok(_) => bail!(
                "{} is there and is no folder: choose another name",
                dir.display()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let name = dir
                    .file_name()
                    .with_context(|| format!("`{}` names no folder", dir.display()))?;
                let parent = match dir.parent() {
                    Some(parent) if parent != Path::new("") => parent,
                    _ => Path::new("."),
                };
                let parent = Folder::open_parent(parent).map_err(|error| explain(error, parent))?;
                Ok(Place::Absent {
                    parent,
                    name: name.to_owned(),
                })
            }
            Err(error) => Err(explain(error, dir)),
        }
    }
}

/// An error with the object that it is about and what to do.
fn explain(error: io::Error, path: &Path) -> anyhow::Error {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space or choose another place"
        }
        ErrorKind::FileTooLarge => "raise the limit on file sizes (ulimit -f)",
        ErrorKind::PermissionDenied => "choose a place that this user may write to",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only: choose another place",
        ErrorKind::NotFound => "create it first",
        ErrorKind::NotADirectory => "name a folder",
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => {
            "something else was put there: choose another name"
        }
        _ => "choose another place",
    };
    anyhow::anyhow!(
        "cannot write {}: {}; {remedy}",
        path.display(),
        plain_words(&error)
    )
}

/// The same for what is read.
fn explain_reading(error: &io::Error, path: &Path) -> anyhow::Error {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => "run as the user whom it belongs to",
        _ => "name the folder that `offheap watch -o` or `offheap capture -o` wrote",
    };
    anyhow::anyhow!(
        "cannot read {}: {}; {remedy}",
        path.display(),
        plain_words(error)
    )
}

/// The system's words, without the internal paths that library errors carry.
fn plain_words(error: &io::Error) -> String {
    let kind = error.kind().to_string();
    match kind.as_str() {
        "uncategorized error" | "other error" => error.to_string(),
        _ => kind,
    }
}

#[cfg(test)]
mod tests;
