//! Reading the target's memory, as a trait: the walker is a pure function over it and is tested on recorded pages.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

mod recorded;

pub use recorded::{RecordedMemory, Recorder};

/// The bytes asked for are not (all) there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Memory is recorded and cached in pieces of this many bytes.
pub const PAGE: u64 = 4096;

/// Memory of the target. Everything that comes from it is hostile.
pub trait Memory {
    /// Fills `buf` from `address` or fails as a whole.
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable>;

    fn read_u8(&self, address: u64) -> Result<u8, Unreadable> {
        let mut buf = [0; 1];
        self.read(address, &mut buf)?;
        Ok(buf[0])
    }

    fn read_u32(&self, address: u64) -> Result<u32, Unreadable> {
        let mut buf = [0; 4];
        self.read(address, &mut buf)?;
        Ok(u32::from_le_bytes(buf))
    }

    fn read_u64(&self, address: u64) -> Result<u64, Unreadable> {
        let mut buf = [0; 8];
        self.read(address, &mut buf)?;
        Ok(u64::from_le_bytes(buf))
    }

    /// `len` bytes from `address`; the caller bounds `len`.
    fn read_vec(&self, address: u64, len: usize) -> Result<Vec<u8>, Unreadable> {
        let mut bytes = vec![0; len];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// As many of the `max` bytes from `address` as are readable: all, or those up to the end of a page.
    fn read_up_to(&self, address: u64, max: usize) -> Vec<u8> {
        let mut len = max;
        while len > 0 {
            if let Ok(bytes) = self.read_vec(address, len) {
                return bytes;
            }
            // The last readable byte is the last one of a page.
            let beyond = (address.wrapping_add(len as u64 - 1) & (PAGE - 1)) + 1;
            len = len.saturating_sub(usize::try_from(beyond).unwrap_or(len));
        }
        Vec::new()
    }

    /// The text at `address` up to its NUL, which has to come within `max` bytes.
    fn read_name(&self, address: u64, max: usize) -> Result<String, Unreadable> {
        let bytes = self.read_up_to(address, max);
        let end = bytes.iter().position(|&byte| byte == 0).ok_or(Unreadable)?;
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        (**self).read(address, buf)
    }
}

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
        let file = match vm_read(id, PAGE, &mut [0]) {
            // The page is not there; that the kernel looked is enough.
            Ok(()) => None,
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => None,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(error),
            Err(_) => Some(File::open(format!("/proc/{pid}/mem"))?),
        };
        Ok(ProcessMemory { pid: id, file })
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        match &self.file {
            None => vm_read(self.pid, address, buf).map_err(|_| Unreadable),
            Some(file) => file.read_exact_at(buf, address).map_err(|_| Unreadable),
        }
    }
}

fn vm_read(pid: libc::pid_t, address: u64, buf: &mut [u8]) -> io::Result<()> {
    let fault = || io::Error::from_raw_os_error(libc::EFAULT);
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let base = usize::try_from(address).map_err(|_| fault())? as *mut libc::c_void;
    let remote = libc::iovec {
        iov_base: base,
        iov_len: buf.len(),
    };
    // SAFETY: `local` describes `buf`, which is borrowed mutably for the whole call; the remote side is only an
    // address that the kernel checks.
    let read = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
    match usize::try_from(read) {
        Ok(read) if read == buf.len() => Ok(()),
        Ok(_) => Err(fault()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Reads whole pages once and remembers them. For a short time only: the target goes on, and the copy grows old.
#[derive(Debug)]
pub struct PageCache<M> {
    memory: M,
    pages: RefCell<BTreeMap<u64, Vec<u8>>>,
    limit: usize,
}

impl<M: Memory> PageCache<M> {
    /// A cache that holds at most `limit` pages and reads the rest directly.
    pub fn new(memory: M, limit: usize) -> Self {
        PageCache {
            memory,
            pages: RefCell::default(),
            limit,
        }
    }
}

impl<M: Memory> Memory for PageCache<M> {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), Unreadable> {
        if self.pages.borrow().len() >= self.limit {
            return self.memory.read(address, buf);
        }
        let mut at = address;
        let mut rest = buf;
        while !rest.is_empty() {
            let from = (at % PAGE) as usize;
            let len = rest.len().min(PAGE as usize - from);
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(len);
            self.copy(at / PAGE, from, part)?;
            rest = behind;
            at = at.checked_add(len as u64).ok_or(Unreadable)?;
        }
        Ok(())
    }
}

impl<M: Memory> PageCache<M> {
    /// Fills `part` with what begins at `from` in `page`, and ends in it.
    fn copy(&self, page: u64, from: usize, part: &mut [u8]) -> Result<(), Unreadable> {
        let mut pages = self.pages.borrow_mut();
        let bytes = match pages.entry(page) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.memory.read_vec(page * PAGE, PAGE as usize)?),
        };
        let bytes = bytes.get(from..from + part.len()).ok_or(Unreadable)?;
        part.copy_from_slice(bytes);
        Ok(())
    }
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
    }

    /// A recorder gives back exactly what was read; a page cache reads each page once and beyond its limit directly.
    #[test]
    fn wrappers() {
        let mut memory = RecordedMemory::default();
        memory.put(PAGE, &[7; 2 * PAGE as usize]);
        let recorder = Recorder::new(&memory);
        recorder.read_vec(PAGE + 10, 4).unwrap();
        recorder.read_vec(0, 4).unwrap_err();
        assert_eq!(
            recorder.recorded().ranges,
            BTreeMap::from([(PAGE + 10, vec![7; 4])])
        );
        let cache = PageCache::new(&recorder, 1);
        assert_eq!(cache.read_vec(PAGE, 8).unwrap(), [7; 8]);
        assert_eq!(cache.read_vec(2 * PAGE, 8).unwrap(), [7; 8]);
        assert_eq!(cache.pages.borrow().len(), 1);
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
