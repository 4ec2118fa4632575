//! An open folder: everything happens relative to it, so that nobody can exchange it under us.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Owner;

/// Writes the content of a file.
pub(crate) type Content<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

#[derive(Debug)]
pub(crate) struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, but not through a symbolic link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, libc::O_NOFOLLOW)
    }

    /// Opens the folder that a bundle's folder is in; the user's way there may have links.
    pub(crate) fn open_parent(path: &Path) -> io::Result<Self> {
        Self::open_with(path, 0)
    }

    fn open_with(path: &Path, flags: i32) -> io::Result<Self> {
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(flags | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Folder {
            handle,
            path: path.to_owned(),
        })
    }

    /// As the user named it, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path to an entry that goes through the open handle and not through the folder's name.
    pub(crate) fn entry(&self, name: impl AsRef<Path>) -> PathBuf {
        self.through_handle().join(name)
    }

    pub(crate) fn through_handle(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// Locks the folder as long as it is open here, and says whether it did: nobody else holds it.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        // SAFETY: a descriptor that is open.
        if unsafe { libc::flock(self.handle.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            error => Err(error),
        }
    }

    /// Makes renames and removals last.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Creates something and removes it again.
    pub(crate) fn try_out(&self) -> io::Result<()> {
        self.temporary_folder(OsStr::new(".offheap-check-"))
            .map(drop)
    }

    /// Writes a file that must not be there yet.
    pub(crate) fn new_file(
        &self,
        name: &str,
        owner: Option<Owner>,
        content: Content<'_>,
    ) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(self.entry(name))?;
        fill(&file, owner, content)
    }

    /// Writes a file under a temporary name and then puts it in the place of an older one.
    pub(crate) fn replace_file(
        &self,
        name: &str,
        owner: Option<Owner>,
        content: Content<'_>,
    ) -> io::Result<()> {
        let file = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(self.through_handle())?;
        fill(file.as_file(), owner, content)?;
        file.persist(self.entry(name))
            .map(drop)
            .map_err(|error| error.error)
    }

    /// A new hidden folder in this one, which is removed with all that is in it unless it is kept.
    pub(crate) fn temporary_folder(&self, prefix: &OsStr) -> io::Result<Partial> {
        let temporary = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(self.through_handle())?;
        let folder = Folder::open(temporary.path())?;
        Ok(Partial { folder, temporary })
    }
}

/// A folder that is being filled.
pub(crate) struct Partial {
    folder: Folder,
    temporary: TempDir,
}

impl Partial {
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Gives the folder its owner and its name. Fails where something with content has that name.
    pub(crate) fn keep_as(
        self,
        parent: &Folder,
        name: &OsStr,
        owner: Option<Owner>,
    ) -> io::Result<()> {
        give(&self.folder.handle, owner)?;
        self.folder.sync()?;
        std::fs::rename(self.temporary.path(), parent.entry(name))?;
        // Under the hidden name there is nothing left to remove.
        let _ = self.temporary.keep();
        parent.sync()
    }
}

/// Creates a folder that later bundles go into.
pub(crate) fn create(parent: &Folder, name: &OsStr, owner: Option<Owner>) -> io::Result<()> {
    let prefix = super::prefixed(".", name, ".partial-");
    parent
        .temporary_folder(&prefix)?
        .keep_as(parent, name, owner)
}

fn fill(file: &File, owner: Option<Owner>, content: Content<'_>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    content(&mut out)?;
    out.flush()?;
    give(file, owner)?;
    file.sync_all()
}

fn give(file: &File, owner: Option<Owner>) -> io::Result<()> {
    match owner {
        Some(Owner { uid, gid }) => fchown(file, Some(uid), Some(gid)),
        None => Ok(()),
    }
}
