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
pub(super) type Content<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

pub(super) struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, but not through a symbolic link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, libc::O_NOFOLLOW)
    }

    /// Opens the folder that a bundle's folder is in; the user's way there may have links.
    pub(super) fn open_parent(path: &Path) -> io::Result<Self> {
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
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path to an entry that goes through the open handle and not through the folder's name.
    pub(super) fn entry(&self, name: impl AsRef<Path>) -> PathBuf {
        self.through_handle().join(name)
    }

    pub(super) fn through_handle(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// Makes renames and removals last.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Creates something and removes it again.
    pub(super) fn try_out(&self) -> io::Result<()> {
        self.temporary_folder(OsStr::new(".offheap-check-"))
            .map(drop)
    }

    /// Writes a file that must not be there yet.
    pub(super) fn new_file(
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
    pub(super) fn replace_file(
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
    pub(super) fn temporary_folder(&self, prefix: &OsStr) -> io::Result<Partial> {
        let temporary = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(self.through_handle())?;
        let folder = Folder::open(temporary.path())?;
        Ok(Partial { folder, temporary })
    }
}

/// A folder that is being filled.
pub(super) struct Partial {
    folder: Folder,
    temporary: TempDir,
}

impl Partial {
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Gives the folder its owner and its name. Fails where something with content has that name.
    pub(super) fn keep_as(
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
pub(super) fn create(parent: &Folder, name: &OsStr, owner: Option<Owner>) -> io::Result<()> {
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
