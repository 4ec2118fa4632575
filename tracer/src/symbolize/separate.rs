//! Debug information that is kept in a file of its own.
//!
//! It is looked for where gdb looks (its manual, "Separate Debug Files"): by build id in `/usr/lib/debug/.build-id`, by
//! the name in `.gnu_debuglink` beside the file, in `.debug` beside it, and below `/usr/lib/debug`; each in our own
//! root first, then in the target's. The latter is the target's own, so paths never lead out of it. A file is
//! believed only with the same build id, or with the checksum that the link states.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sections::Sections;
use crate::target::modules::{Module, elf};
use crate::target::root;

const FOLDER: &str = "/usr/lib/debug";
/// The largest file whose checksum is calculated, at some 2 GiB a second.
const MAX_CHECKED: u64 = 4 << 30;
/// A build id is 20 bytes in most cases; one of fewer than 8 would be no proof.
const MIN_ID: usize = 16;

/// The root folders that debug files are looked for in.
#[derive(Debug, Default)]
pub struct Roots(Vec<File>);

/// A debug file.
#[derive(Clone, Debug)]
pub struct Separate {
    pub file: Arc<File>,
    pub path: PathBuf,
    /// The checksum that it still has to be believed by.
    crc: Option<u32>,
    /// What it shares with other debug files.
    pub shared: Option<Arc<File>>,
}

impl Roots {
    /// Ours, and that of the target, which is held: it can be looked into also after the target's end.
    pub fn of(target: Option<File>) -> Self {
        Roots(File::open("/").ok().into_iter().chain(target).collect())
    }

    /// The debug file of a module.
    pub fn find(&self, module: &Module, sections: &Sections) -> Option<Separate> {
        let id = module
            .build_id
            .as_deref()
            .filter(|id| id.len() >= MIN_ID && id.is_ascii());
        let by_id = id.map(by_id);
        let link = link(sections);
        let named = link.as_ref().map(|(name, _)| beside(&module.path, name));
        self.0.iter().find_map(|root| {
            let by_id = by_id
                .iter()
                .find_map(|path| self.believed(root, path, module, id, None));
            by_id.or_else(|| {
                let crc = link.as_ref().map(|(_, crc)| *crc);
                let mut paths = named.iter().flatten();
                paths.find_map(|path| self.believed(root, path, module, id, crc))
            })
        })
    }

    fn believed(
        &self,
        root: &File,
        path: &Path,
        module: &Module,
        id: Option<&str>,
        crc: Option<u32>,
    ) -> Option<Separate> {
        let file = open(root, path)?;
        if same_file(&file, &module.file) {
            return None;
        }
        let crc = match (id, elf::build_id(&file)) {
            (Some(ours), Some(theirs)) if ours == theirs => None,
            (Some(_), Some(_)) => return None,
            _ => Some(crc?),
        };
        let file = Arc::new(file);
        Some(Separate {
            shared: self.shared(root, &file, path),
            file,
            path: path.to_owned(),
            crc,
        })
    }

    /// What `dwz` took out of several debug files: `.gnu_debugaltlink` names it, with its build id.
    fn shared(&self, root: &File, debug: &Arc<File>, path: &Path) -> Option<Arc<File>> {
        let bytes = Sections::of(debug)?.load(".gnu_debugaltlink").ok()?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let id: String = bytes[end + 1..]
            .iter()
            .take(64)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if id.len() < MIN_ID {
            return None;
        }
        let name = Path::new(std::ffi::OsStr::from_bytes(&bytes[..end]));
        let paths = [path.parent()?.join(name), by_id(&id)];
        let mut files = paths.iter().filter_map(|path| open(root, path));
        files
            .find(|file| elf::build_id(file).as_deref() == Some(&id))
            .map(Arc::new)
    }
}

impl Separate {
    /// Whether it belongs to the file that led to it. Reads all of it where only a checksum can tell.
    ///
    /// # Errors
    /// It can't be read, or is too large to be checked.
    pub fn belongs(&self) -> io::Result<bool> {
        let Some(wanted) = self.crc else {
            return Ok(true);
        };
        let size = self.file.metadata()?.len();
        if size > MAX_CHECKED {
            return Err(io::Error::other("it is too large for a checksum"));
        }
        let (mut hasher, mut at) = (crc32fast::Hasher::new(), 0);
        let mut piece = vec![0; 1 << 20];
        while at < size {
            match self.file.read_at(&mut piece, at)? {
                0 => break,
                read => {
                    hasher.update(&piece[..read]);
                    at += read as u64;
                }
            }
        }
        Ok(hasher.finalize() == wanted)
    }
}

/// Opens a regular file that is no view into the kernel.
fn open(root: &File, path: &Path) -> Option<File> {
    let file = root::open_in(root, path).ok()?;
    // SAFETY: statfs is plain data, and all zeroes is a value of it.
    let mut system: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `system` outlives the call.
    let known = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut system) } == 0;
    let kernel = [
        libc::PROC_SUPER_MAGIC,
        libc::SYSFS_MAGIC,
        libc::DEBUGFS_MAGIC,
        libc::TRACEFS_MAGIC,
    ];
    (known && !kernel.contains(&system.f_type)).then_some(file)
}

fn same_file(a: &File, b: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let key = |file: &File| {
        file.metadata()
            .map(|metadata| (metadata.dev(), metadata.ino()))
            .ok()
    };
    key(a).is_some() && key(a) == key(b)
}

fn by_id(id: &str) -> PathBuf {
    let (first, rest) = id.split_at(2.min(id.len()));
    PathBuf::from(format!("{FOLDER}/.build-id/{first}/{rest}.debug"))
}

/// Where a file of this name may be, for a file at `path`.
fn beside(path: &Path, name: &Path) -> [PathBuf; 3] {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let below = Path::new(FOLDER).join(folder.strip_prefix("/").unwrap_or(folder));
    [
        folder.join(name),
        folder.join(".debug").join(name),
        below.join(name),
    ]
}

/// The name in `.gnu_debuglink`, which has to be one, and the checksum.
fn link(sections: &Sections) -> Option<(PathBuf, u32)> {
    let bytes = sections.load(".gnu_debuglink").ok()?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = &bytes[..end];
    let crc = bytes.get((end + 1).next_multiple_of(4)..)?.first_chunk()?;
    let is_name = !name.contains(&b'/') && !matches!(name, b"" | b"." | b"..");
    is_name.then(|| {
        (
            PathBuf::from(std::ffi::OsStr::from_bytes(name)),
            u32::from_le_bytes(*crc),
        )
    })
}
