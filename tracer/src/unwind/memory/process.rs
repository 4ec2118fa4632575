//! The memory of a live process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Memory, PAGE, Piece, Unreadable, one_by_one};

/// Ranges that one call takes (`IOV_MAX` of linux/uio.h).
const MAX_RANGES: usize = 1024;

/// The memory of a live process. Nothing in it is stopped or changed by a read.
#[derive(Debug)]
pub struct ProcessMemory {
    pid: libc::pid_t,
    /// Opened only when the kernel refuses `process_vm_readv`.
    file: Option<File>,
}

impl ProcessMemory {
    /// The memory of `pid`, which has to be readable for us at all.
    ///
    /// # Errors
    /// There is no such process, or neither `process_vm_readv` nor `/proc/PID/mem` may be used on it: that needs
    /// CAP_SYS_PTRACE or the same user.
    pub fn open(pid: u32) -> io::Result<Self> {
        let id =
            libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let first = Piece {
            address: PAGE,
            len: 1,
        };
        let file = match vm_read(id, &[first], &mut [0]) {
            // The page is not there; that the kernel looked is enough.
            Ok(_) => None,
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => None,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(error),
            Err(_) => Some(File::open(format!("/proc/{pid}/mem"))?),
        };
        Ok(ProcessMemory { pid: id, file })
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        let len = buf.len();
        let read = match &self.file {
            None => vm_read(self.pid, &[Piece { address, len }], buf),
            Some(file) => file.read_exact_at(buf, address).map(|()| len),
        };
        read.ok()
            .filter(|&read| read == len)
            .map(drop)
            .ok_or(Unreadable)
    }

    fn read_many(&self, pieces: &[Piece], buf: &mut [u8]) -> Vec<bool> {
        if self.file.is_some() {
            return one_by_one(self, pieces, buf);
        }
        let mut read = Vec::with_capacity(pieces.len());
        let mut rest = buf;
        while let Some(left) = pieces.get(read.len()..).filter(|left| !left.is_empty()) {
            let left = &left[..left.len().min(MAX_RANGES)];
            let mut got = match vm_read(self.pid, left, rest) {
                Ok(got) => got,
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => 0,
                // There is no process any more.
                Err(_) => break,
            };
            let mut used = 0;
            // The kernel stops at the first piece that it can't read; the next call goes on behind that.
            for piece in left {
                used += piece.len;
                read.push(piece.len <= got);
                if piece.len > got {
                    break;
                }
                got -= piece.len;
            }
            rest = rest.get_mut(used..).unwrap_or_default();
        }
        read.resize(pieces.len(), false);
        read
    }
}

/// Reads `pieces` into `buf`, one behind the other, up to the first byte that is not there; returns how many were read.
fn vm_read(pid: libc::pid_t, pieces: &[Piece], buf: &mut [u8]) -> io::Result<usize> {
    let remote = pieces.iter().map(|piece| libc::iovec {
        iov_base: piece.address as usize as *mut libc::c_void,
        iov_len: piece.len,
    });
    let remote: Vec<libc::iovec> = remote.collect();
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: `local` describes `buf`, which is borrowed mutably for the whole call; the remote side is only addresses
    // that the kernel checks.
    let read = unsafe {
        libc::process_vm_readv(
            pid,
            &local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A live process is read, an address that is not mapped fails, and so does a read that runs into a hole.
    #[test]
    fn own_memory() {
        let memory = ProcessMemory::open(std::process::id()).unwrap();
        let value = Box::new(0x1234_5678_9abc_def0_u64);
        assert_eq!(memory.read_u64(&raw const *value as u64), Ok(*value));
        assert_eq!(memory.read_u64(8), Err(Unreadable));
        assert_eq!(memory.read_u64(u64::MAX - 3), Err(Unreadable));
    }

    /// The way through `/proc/PID/mem` reads the same.
    #[test]
    fn through_proc() {
        let file = Some(File::open("/proc/self/mem").unwrap());
        let memory = ProcessMemory {
            pid: std::process::id() as i32,
            file,
        };
        let value = Box::new(7_u64);
        assert_eq!(memory.read_u64(&raw const *value as u64), Ok(7));
        assert_eq!(memory.read_u64(8), Err(Unreadable));
        many(&memory);
    }

    /// A batch gives every piece that is there, however many, and says which are not.
    #[test]
    fn batches() {
        many(&ProcessMemory::open(std::process::id()).unwrap());
    }

    fn many(memory: &ProcessMemory) {
        let values: Vec<u64> = (0..3000).collect();
        let piece = |index: usize| Piece {
            address: match index % 1000 {
                7 => 8,
                9 => u64::MAX - 3,
                _ => &raw const values[index] as u64,
            },
            len: 8,
        };
        let pieces: Vec<Piece> = (0..values.len()).map(piece).collect();
        let mut bytes = vec![0; 8 * values.len()];
        let read = memory.read_many(&pieces, &mut bytes);
        assert_eq!(read.len(), values.len());
        for (index, read) in read.into_iter().enumerate() {
            assert_eq!(read, ![7, 9].contains(&(index % 1000)), "{index}");
            if read {
                assert_eq!(bytes[8 * index..8 * index + 8], values[index].to_le_bytes());
            }
        }
    }

    /// A process that is not there can't be opened.
    #[test]
    fn ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert!(ProcessMemory::open(pid).is_err());
    }
}
