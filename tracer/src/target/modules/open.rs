//! Opening what a mapping maps, and nothing else.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::maps::Mapping;

/// No vDSO is larger: it is four pages at most on today's kernels.
const MAX_VDSO: u64 = 256 << 10;

/// The file behind `mapping`, through the mapping itself where the kernel allows that.
///
/// # Errors
/// The mapping is gone, or neither way is allowed, or the path now leads to another file.
pub fn mapped_file(pid: u32, mapping: &Mapping<'_>, all: &[Mapping<'_>]) -> io::Result<File> {
    // Any mapping of the file will do: one may be gone by now.
    let ranges = all
        .iter()
        .filter(|other| (other.device, other.inode) == (mapping.device, mapping.inode))
        .take(8);
    for range in ranges {
        let link = format!("/proc/{pid}/map_files/{:x}-{:x}", range.start, range.end);
        match std::fs::metadata(&link) {
            // Devices (GPU memory) are mapped too; opening one could have effects.
            Ok(metadata) if !metadata.is_file() => {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
            Ok(_) => {
                if let Ok(file) = File::open(&link) {
                    return Ok(file);
                }
            }
            Err(_) => {}
        }
    }
    by_path(pid, mapping)
}

/// `/proc/PID/root/<path>`, if that still is the file that is mapped.
fn by_path(pid: u32, mapping: &Mapping<'_>) -> io::Result<File> {
    let mut path = PathBuf::from(format!("/proc/{pid}/root"));
    let name = Path::new(std::ffi::OsStr::from_bytes(mapping.name));
    path.push(
        name.strip_prefix("/")
            .map_err(|_| io::Error::from(io::ErrorKind::NotFound))?,
    );
    // A FIFO or a device at that path must not be opened: that could block or have effects.
    if !std::fs::metadata(&path)?.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // Nor may one that takes the file's place just now.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&path)?;
    let metadata = file.metadata()?;
    let device = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
    if (device, metadata.ino()) != (mapping.device, mapping.inode) {
        let text = format!(
            "{} is not the file that process {pid} has mapped any more",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(file)
}

pub fn is_elf(file: &File) -> bool {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"\x7fELF"
}

/// A copy of the kernel's library as the target has it: it has no file.
///
/// # Errors
/// The target's memory can't be read, or no memory file can be made.
pub fn vdso(pid: u32, mapping: &Mapping<'_>) -> io::Result<File> {
    let size = (mapping.end - mapping.start).min(MAX_VDSO);
    let mut bytes = vec![0; size as usize];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, mapping.start)?;
    in_memory(c"offheap-vdso", &bytes)
}

/// A file in memory that holds `bytes`.
///
/// # Errors
/// There is no memory, or the kernel makes no memory files.
pub fn in_memory(name: &CStr, bytes: &[u8]) -> io::Result<File> {
    // SAFETY: the name is NUL-terminated and outlives the call, which has no other memory effects.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is a new descriptor that nothing else owns.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    Ok(file)
}
