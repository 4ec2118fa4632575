//! Opens files as the target sees them.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The target's own root folder. It stays what it is when the target ends.
///
/// # Errors
/// Of the kernel: the target has ended, or may not be read.
pub fn of(process: &procfs::process::Process) -> io::Result<File> {
    let root = process
        .open_relative("root")
        .map_err(super::process::into_io)?;
    Ok(File::from(std::os::fd::OwnedFd::from(root)))
}

/// Opens a regular file under the target's own root for reading.
///
/// # Errors
/// Those of [`of`] and [`open_in`].
pub fn open(process: &procfs::process::Process, path: &Path) -> io::Result<File> {
    open_in(&of(process)?, path)
}

/// Opens a regular file under a root folder for reading.
///
/// Symbolic links are resolved inside that root, never in ours, so that a target can't make us open a file of the
/// host. Devices and pipes are refused, and opening them does not block.
///
/// # Errors
/// Of the kernel; `EINVAL` for anything but a regular file.
pub fn open_in(root: &File, path: &Path) -> io::Result<File> {
    open_resolved(
        root,
        path,
        libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    )
}

/// The same for a path that has no business being a symbolic link, nor leading through one: it is refused (`ELOOP`).
///
/// # Errors
/// Those of [`open_in`].
pub fn open_plain_in(root: &File, path: &Path) -> io::Result<File> {
    open_resolved(
        root,
        path,
        libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS,
    )
}

/// Opens a folder under a root folder, not through symbolic links.
///
/// # Errors
/// Of the kernel; `ENOTDIR` for anything but a folder, `ELOOP` for links.
pub fn open_folder_in(root: &File, path: &Path) -> io::Result<File> {
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
    open_with(root, path, libc::O_DIRECTORY | libc::O_CLOEXEC, resolve)
}

fn open_resolved(root: &File, path: &Path, resolve: u64) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = open_with(root, path, flags, resolve)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

fn open_with(root: &File, path: &Path, flags: i32, resolve: u64) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: open_how is plain data; its documentation asks for unused fields to be zero.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = flags as u64;
    how.resolve = resolve;
    let size = size_of::<libc::open_how>();
    // SAFETY: `path` is a terminated string and `how` has the size that is passed; both outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it. It fits, as all descriptors do.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Regular files are opened through links; folders, devices and pipes are refused without blocking.
    #[test]
    fn only_regular_files() {
        let us = procfs::process::Process::myself().unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "text").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        symlink("/dev/tty", folder.path().join("device")).unwrap();
        let fifo = folder.path().join("fifo");
        let fifo_name = CString::new(fifo.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a terminated string.
        assert_eq!(unsafe { libc::mkfifo(fifo_name.as_ptr(), 0o600) }, 0);
        let mut text = String::new();
        open(&us, &folder.path().join("link"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "text");
        let top = of(&us).unwrap();
        assert!(open_plain_in(&top, &folder.path().join("file")).is_ok());
        assert!(open_plain_in(&top, &folder.path().join("link")).is_err());
        assert!(open_folder_in(&top, folder.path()).is_ok());
        assert!(open_folder_in(&top, &folder.path().join("file")).is_err());
        for refused in [
            folder.path(),
            &folder.path().join("device"),
            &fifo,
            Path::new("/proc/self/exe"),
            Path::new("/no"),
        ] {
            assert!(open(&us, refused).is_err(), "{}", refused.display());
        }
    }

    /// Links of a target with a root of its own lead to its files, never to ours. The target is a thread of this test
    /// that has changed its root, which takes root.
    #[test]
    fn own_root() {
        if crate::target::user::effective() != 0 {
            eprintln!("skipped: changing the root folder takes root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("release"), "inside").unwrap();
        symlink("/release", folder.path().join("absolute")).unwrap();
        symlink("../../../release", folder.path().join("upwards")).unwrap();
        symlink("/etc/passwd", folder.path().join("ours")).unwrap();
        let (give_tid, tid) = mpsc::channel();
        let (end, wait) = mpsc::channel::<()>();
        let root = CString::new(folder.path().as_os_str().as_bytes()).unwrap();
        let jailed = thread::spawn(move || {
            // SAFETY: unshare gives this thread a root folder of its own, so that chroot changes no other thread's;
            // the path is a terminated string.
            let changed =
                unsafe { libc::unshare(libc::CLONE_FS) == 0 && libc::chroot(root.as_ptr()) == 0 };
            // SAFETY: gettid has no preconditions.
            give_tid
                .send(changed.then(|| unsafe { libc::gettid() }))
                .unwrap();
            wait.recv()
        });
        let tid = tid.recv().unwrap().unwrap();
        let task = format!("/proc/self/task/{tid}").into();
        let jail = procfs::process::Process::new_with_root(task).unwrap();
        for link in ["/absolute", "/upwards", "/../release"] {
            let mut text = String::new();
            open(&jail, Path::new(link))
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "inside", "{link}");
        }
        assert_eq!(
            open(&jail, Path::new("/ours")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        drop(end);
        assert!(jailed.join().unwrap().is_err());
    }
}
