//! A series of bundles in one folder: one per period, the oldest removed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::folder::{self, Folder};
use super::{FORMATS, Owner, Place, compact, explain, write_new};
use crate::capture::Capture;
use crate::report::Options;

/// Most bundles of one second.
const MAX_IN_A_SECOND: u32 = 1000;

/// Bundles of one target, `offheap-PID-TIME`, in a folder that may hold other things and other targets' bundles.
pub struct Series {
    folder: Folder,
    pid: u32,
    keep: NonZeroUsize,
    owner: Option<Owner>,
}

/// What came of writing one bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub path: PathBuf,
    /// How many older bundles were removed.
    pub removed: usize,
    /// Older bundles that should have been removed and were not, with the reason.
    pub left: Vec<String>,
}

/// A bundle of this series: its time, its number within a second, and its folder's name.
type Bundle = (String, u32, OsString);

impl Series {
    /// Opens the folder, creates it where it is not there, and removes what a killed run left half-written.
    ///
    /// # Errors
    /// The folder cannot be created or written to.
    pub fn open(dir: &Path, pid: u32, keep: NonZeroUsize, owner: Option<Owner>) -> Result<Self> {
        let folder = match Place::of(dir)? {
            Place::Present(folder) => folder,
            Place::Absent { parent, name } => {
                folder::create(&parent, &name, owner).map_err(|error| explain(error, dir))?;
                Folder::open(dir).map_err(|error| explain(error, dir))?
            }
        };
        folder.try_out().map_err(|error| explain(error, dir))?;
        let series = Series {
            folder,
            pid,
            keep,
            owner,
        };
        series
            .remove_unfinished()
            .map_err(|error| explain(error, dir))?;
        Ok(series)
    }

    /// Writes one bundle and removes the oldest ones of this target beyond the number to keep.
    ///
    /// # Errors
    /// The bundle could not be written; then nothing was removed.
    pub fn write(&self, capture: &Capture, options: &Options, time: Timestamp) -> Result<Written> {
        let name = self.free_name(time)?;
        let hidden = format!(".{name}.partial-{}-", std::process::id());
        let name = OsString::from(name);
        write_new(
            &self.folder,
            OsStr::new(&hidden),
            &name,
            capture,
            options,
            self.owner,
        )?;
        let mut written = Written {
            path: self.folder.path().join(&name),
            removed: 0,
            left: Vec::new(),
        };
        self.prune(&name, &mut written);
        Ok(written)
    }

    fn free_name(&self, time: Timestamp) -> Result<String> {
        let first = format!("offheap-{}-{}", self.pid, compact(time));
        for number in 1..=MAX_IN_A_SECOND {
            let name = if number == 1 {
                first.clone()
            } else {
                format!("{first}-{number}")
            };
            match fs::symlink_metadata(self.folder.entry(&name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(name),
                Err(error) => return Err(explain(error, &self.folder.path().join(name))),
                Ok(_) => {}
            }
        }
        bail!(
            "{} has {MAX_IN_A_SECOND} bundles of one second already",
            self.folder.path().display()
        )
    }

    fn prune(&self, newest: &OsStr, written: &mut Written) {
        let mut bundles = match self.bundles() {
            Ok(bundles) => bundles,
            Err(error) => {
                return written
                    .left
                    .push(format!("{:#}", explain(error, self.folder.path())));
            }
        };
        bundles.sort();
        let surplus = bundles.len().saturating_sub(self.keep.get());
        for (_, _, name) in bundles
            .into_iter()
            .filter(|(_, _, name)| name != newest)
            .take(surplus)
        {
            match self.remove(&name) {
                Ok(()) => written.removed += 1,
                Err(error) => written
                    .left
                    .push(format!("{} is left: {error}", Path::new(&name).display())),
            }
        }
    }

    fn bundles(&self) -> io::Result<Vec<Bundle>> {
        let mut bundles = Vec::new();
        for name in self.names()? {
            if let Some((time, number)) = name.to_str().and_then(|name| parse_name(name, self.pid))
            {
                bundles.push((time, number, name));
            }
        }
        Ok(bundles)
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(self.folder.through_handle())?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    /// Removes a folder if it holds nothing but a bundle's files.
    fn remove(&self, name: &OsStr) -> io::Result<()> {
        let bundle = Folder::open(&self.folder.entry(name))?;
        let names: Vec<OsString> = fs::read_dir(bundle.through_handle())?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<_>>()?;
        let ours = |name: &OsString| FORMATS.iter().any(|format| name == format.file_name());
        if !names.iter().all(ours) {
            return Err(io::Error::other(
                "it holds files that offheap did not write",
            ));
        }
        // Nobody sees half of it: it goes under a hidden name first.
        let hidden = match name.as_encoded_bytes().first() {
            Some(b'.') => name.to_owned(),
            _ => {
                let mut hidden = OsString::from(".");
                hidden.push(name);
                hidden.push(format!(".partial-{}-removed", std::process::id()));
                fs::rename(self.folder.entry(name), self.folder.entry(&hidden))?;
                hidden
            }
        };
        for file in names {
            fs::remove_file(bundle.entry(file))?;
        }
        fs::remove_dir(self.folder.entry(hidden))
    }

    /// Half-written bundles stay hidden when we are killed; their writer's pid is in their name.
    fn remove_unfinished(&self) -> io::Result<()> {
        for name in self.names()? {
            let writer = name
                .to_str()
                .and_then(|name| parse_unfinished(name, self.pid));
            if writer.is_some_and(|writer| !Path::new("/proc").join(writer.to_string()).exists()) {
                // What is not ours to remove is hidden and harms nobody.
                let _ = self.remove(&name);
            }
        }
        Ok(())
    }
}

/// Time and number of `offheap-PID-TIME` and `offheap-PID-TIME-NUMBER`.
fn parse_name(name: &str, pid: u32) -> Option<(String, u32)> {
    let rest = name.strip_prefix(&format!("offheap-{pid}-"))?;
    let (time, number) = match rest.split_once('-') {
        Some((time, number)) => (time, number.parse().ok().filter(|number| *number >= 2)?),
        None => (rest, 1),
    };
    let shape = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    (time.len() == 16 && time.bytes().enumerate().all(shape)).then(|| (time.to_owned(), number))
}

/// The writer's pid of `.offheap-PID-TIME.partial-WRITER-RANDOM`.
fn parse_unfinished(name: &str, pid: u32) -> Option<u32> {
    let (bundle, rest) = name.strip_prefix('.')?.split_once(".partial-")?;
    parse_name(bundle, pid)?;
    rest.split_once('-')?.0.parse().ok()
}
