//! What is resident, page by page.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Pid;

/// The page size that `/proc/PID/pagemap` has an entry for.
const PAGE: u64 = 4096;
/// Of an anonymous huge page (x86_64, and aarch64 with 4 KiB pages).
const HUGE: u64 = 2 << 20;

// Bits of Documentation/admin-guide/mm/pagemap.rst.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FRAME: u64 = (1 << 55) - 1;
const KPF_THP: u64 = 1 << 22;

/// The pages of a process. It goes on; each answer is of its moment.
#[derive(Debug)]
pub struct Pages {
    map: File,
    /// Where it can't be had, huge pages are taken for small ones.
    flags: Option<File>,
}

impl Pages {
    /// # Errors
    /// The process is gone, or not ours to look into.
    pub fn of(pid: Pid) -> io::Result<Pages> {
        Ok(Pages {
            map: File::open(format!("/proc/{pid}/pagemap"))?,
            flags: File::open("/proc/kpageflags").ok(),
        })
    }

    /// Whether the page at `address` takes memory, or swap; none when the process has ended.
    pub fn is_held(&self, address: u64) -> Option<bool> {
        Some(self.entry(address)? & (PRESENT | SWAPPED) != 0)
    }

    /// First address and bytes of the page around `address`.
    pub fn around(&self, address: u64) -> (u64, u64) {
        let bytes = if self.is_huge(address) == Some(true) {
            HUGE
        } else {
            PAGE
        };
        (address & !(bytes - 1), bytes)
    }

    fn is_huge(&self, address: u64) -> Option<bool> {
        let entry = self.entry(address).filter(|entry| entry & PRESENT != 0)?;
        let flags = read(self.flags.as_ref()?, entry & FRAME)?;
        Some(flags & KPF_THP != 0)
    }

    fn entry(&self, address: u64) -> Option<u64> {
        read(&self.map, address / PAGE)
    }
}

/// Entry `index` of a file of 64-bit numbers.
fn read(file: &File, index: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, index.checked_mul(8)?).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that was written is held, one that was never touched or given back is not.
    #[test]
    fn what_was_touched_is_held() {
        const LENGTH: usize = 2 * PAGE as usize;
        let pages = Pages::of(Pid(std::process::id())).unwrap();
        // SAFETY: a fresh mapping, which is given back below and used by nobody else.
        unsafe {
            let start = libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(start, libc::MAP_FAILED);
            libc::madvise(start, LENGTH, libc::MADV_NOHUGEPAGE);
            start.cast::<u8>().write_volatile(1);
            let (first, second) = (start as u64, start as u64 + PAGE);
            assert_eq!(
                (pages.is_held(first), pages.is_held(second)),
                (Some(true), Some(false))
            );
            assert_eq!(pages.around(first + 97), (first, PAGE));
            libc::madvise(start, LENGTH, libc::MADV_DONTNEED);
            assert_eq!(pages.is_held(first), Some(false));
            libc::munmap(start, LENGTH);
        }
    }
}
