//! Profiles that wait to be pushed: files in a folder, bounded in bytes and number, that outlive the run.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bundle::Owner;
use crate::bundle::folder::{self, Folder};

/// Most profiles that wait.
pub const MAX_ENTRIES: usize = 512;
/// Longest first line of a file.
const MAX_HEAD: u64 = 64 << 10;
/// What a killed run left half-written goes after this time.
const ABANDONED: Duration = Duration::from_secs(3600);
const ENDING: &str = ".push";

/// What a profile is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub service: String,
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub from: i64,
    pub until: i64,
}

/// A profile that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub about: About,
    /// pprof, compressed; nothing here looks into it.
    pub profile: Vec<u8>,
}

/// The folder. Each file is one line of JSON and the profile after it.
#[derive(Debug)]
pub struct Spool {
    folder: Folder,
    owner: Option<Owner>,
    max_bytes: u64,
    written: AtomicU64,
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    pub profiles: u64,
    pub bytes: u64,
}

impl Spool {
    /// Opens the folder `name` in `parent`, and makes it where it is not there.
    ///
    /// # Errors
    /// The folder can't be made, or is a link or no folder.
    pub fn open(
        parent: &Path,
        name: &str,
        owner: Option<Owner>,
        max_bytes: u64,
    ) -> io::Result<Spool> {
        let parent = Folder::open(parent)?;
        let path = parent.path().join(name);
        let folder = match Folder::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                folder::create(&parent, OsStr::new(name), owner)?;
                Folder::open(&path)?
            }
            opened => opened?,
        };
        Ok(Spool {
            folder,
            owner,
            max_bytes,
            written: AtomicU64::new(0),
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether this process is the one that empties it, now or from an earlier call on.
    pub fn try_lock(&self) -> io::Result<bool> {
        self.folder.try_lock()
    }

    /// Puts a profile at the end, and says how many of the oldest had to go.
    ///
    /// # Errors
    /// It could not be written, or is bigger than the whole spool.
    pub fn add(&self, entry: &Entry) -> io::Result<u64> {
        let mut head = serde_json::to_vec(&entry.about)?;
        head.push(b'\n');
        let size = (head.len() + entry.profile.len()) as u64;
        if size > self.max_bytes {
            return Err(io::Error::other(format!(
                "a profile of {size} bytes does not fit in a spool of {}: give more with --spool-bytes",
                self.max_bytes
            )));
        }
        let dropped = self.make_room(size)?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{:012}-{}-{number:08}{ENDING}",
            entry.about.until.max(0),
            std::process::id()
        );
        self.folder.replace_file(&name, self.owner, &mut |out| {
            out.write_all(&head)?;
            out.write_all(&entry.profile)
        })?;
        Ok(dropped)
    }

    fn make_room(&self, size: u64) -> io::Result<u64> {
        let files = self.files()?;
        let mut count = files.len();
        let mut bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let mut dropped = 0;
        for (name, size_of_it) in files {
            if count < MAX_ENTRIES && bytes.saturating_add(size) <= self.max_bytes {
                break;
            }
            self.remove(&name)?;
            (count, bytes, dropped) = (count - 1, bytes - size_of_it, dropped + 1);
        }
        Ok(dropped)
    }

    /// The oldest one, with its name; nonsense is removed and passed over.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn oldest(&self) -> io::Result<Option<(String, Entry)>> {
        for (name, _) in self.files()? {
            match self.read(&name) {
                Ok(entry) => return Ok(Some((name, entry))),
                Err(error) if error.kind() == ErrorKind::InvalidData => self.remove(&name)?,
                // Dropped for want of room meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn read(&self, name: &str) -> io::Result<Entry> {
        let nonsense = || io::Error::new(ErrorKind::InvalidData, "not a profile that waits");
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(self.folder.entry(name));
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(nonsense()),
            opened => opened?,
        };
        let facts = file.metadata()?;
        if !facts.is_file() || facts.len() > self.max_bytes {
            return Err(nonsense());
        }
        let mut file = BufReader::new(file.take(self.max_bytes));
        let mut head = Vec::new();
        Read::take(&mut file, MAX_HEAD).read_until(b'\n', &mut head)?;
        let about = serde_json::from_slice(&head).map_err(|_| nonsense())?;
        let mut profile = Vec::new();
        file.read_to_end(&mut profile)?;
        Ok(Entry { about, profile })
    }

    /// Takes it out; one that is gone already is no error.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.entry(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// What waits now; nothing where it can't be told.
    pub fn fill(&self) -> Fill {
        let files = self.files().unwrap_or_default();
        Fill {
            profiles: files.len() as u64,
            bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        }
    }

    /// Names and sizes, oldest first.
    fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder.through_handle())? {
            let entry = entry?;
            let Ok(facts) = entry.metadata() else {
                continue;
            };
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') {
                let age = facts.modified().ok().and_then(|time| time.elapsed().ok());
                if age.is_some_and(|age| age > ABANDONED) {
                    self.remove(&name)?;
                }
            } else if name.ends_with(ENDING) {
                files.push((name, facts.len()));
            }
        }
        files.sort();
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(until: i64, bytes: usize) -> Entry {
        Entry {
            about: About {
                service: "s".to_owned(),
                labels: [("k".to_owned(), "v\n".to_owned())].into(),
                from: 0,
                until,
            },
            profile: vec![b'\n'; bytes],
        }
    }

    fn spool(max_bytes: u64) -> (tempfile::TempDir, Spool) {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::open(parent.path(), ".push", None, max_bytes).unwrap();
        (parent, spool)
    }

    /// The oldest comes first, as it was put in, also after the folder was closed.
    #[test]
    fn in_order() {
        let (parent, spool) = spool(1 << 20);
        for until in [20, 5, 10] {
            assert_eq!(spool.add(&entry(until, 3)).unwrap(), 0);
        }
        drop(spool);
        let spool = Spool::open(parent.path(), ".push", None, 1 << 20).unwrap();
        for until in [5, 10, 20] {
            let (name, oldest) = spool.oldest().unwrap().unwrap();
            assert_eq!(oldest, entry(until, 3));
            spool.remove(&name).unwrap();
        }
        assert_eq!(spool.oldest().unwrap(), None);
    }

    /// Neither bytes nor number exceed their bounds: the oldest go, and are counted.
    #[test]
    fn bounded() {
        let (_parent, by_bytes) = spool(10_000);
        let dropped: u64 = (0..30)
            .map(|until| by_bytes.add(&entry(until, 1000)).unwrap())
            .sum();
        let fill = by_bytes.fill();
        assert!(fill.bytes <= 10_000 && fill.profiles == 9, "{fill:?}");
        assert_eq!(dropped, 21);
        assert_eq!(by_bytes.oldest().unwrap().unwrap().1.about.until, 21);
        assert!(by_bytes.add(&entry(99, 10_000)).is_err());
        assert_eq!(
            by_bytes.fill(),
            fill,
            "what can't fit costs nothing else its place"
        );

        let (_parent, by_number) = spool(1 << 20);
        let more = MAX_ENTRIES as i64 + 3;
        let dropped: u64 = (0..more)
            .map(|until| by_number.add(&entry(until, 1)).unwrap())
            .sum();
        assert_eq!(
            (dropped, by_number.fill().profiles),
            (3, MAX_ENTRIES as u64)
        );
    }

    /// What others put into the folder is not followed, not sent, and does not stop what comes after it.
    #[test]
    fn hostile_folder() {
        let (parent, spool) = spool(10_000);
        let folder = parent.path().join(".push");
        std::os::unix::fs::symlink("/etc/passwd", folder.join("000000000000-1-1.push")).unwrap();
        fs::write(folder.join("000000000001-1-1.push"), "no line of JSON").unwrap();
        fs::write(folder.join("000000000002-1-1.push"), vec![b'x'; 20_000]).unwrap();
        fs::write(folder.join("other"), "x").unwrap();
        spool.add(&entry(7, 3)).unwrap();
        assert_eq!(spool.oldest().unwrap().unwrap().1, entry(7, 3));
        assert!(folder.join("other").exists());
    }

    /// Only one of two that share a folder empties it; when the first is gone the other may.
    #[test]
    fn one_at_a_time() {
        let (parent, first) = spool(10_000);
        let second = Spool::open(parent.path(), ".push", None, 10_000).unwrap();
        assert!(first.try_lock().unwrap() && first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }
}
