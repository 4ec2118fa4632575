//! The target's code as it is in memory, against the file that it was mapped from: a probe is a changed instruction.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use offheap::capture::Capture;

/// An instruction of a file that the process `pid` has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub name: String,
    pub file: String,
    pub offset: u64,
    address: u64,
}

/// As many bytes as the shortest breakpoint changes.
const BREAKPOINT: usize = 1;

/// The attach points of a capture, where the process `pid` has them in memory.
pub fn attach_points(capture: &Capture, pid: u32) -> Vec<Instruction> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps of an own child");
    let points = capture.functions.iter().filter_map(|function| {
        let address = maps
            .lines()
            .find_map(|line| address(line, &function.file, function.offset))?;
        Some(Instruction {
            name: function.name.clone(),
            file: function.file.clone(),
            offset: function.offset,
            address,
        })
    });
    points.collect()
}

/// Where a line of /proc/PID/maps puts `offset` of `file`, if it maps that executable.
fn address(line: &str, file: &str, offset: u64) -> Option<u64> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?;
    let first = u64::from_str_radix(words.next()?, 16).ok()?;
    let path = words.nth(2)?;
    let (start, end) = (
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    );
    let inside =
        access.contains('x') && path == file && (first..first + (end - start)).contains(&offset);
    inside.then(|| start + (offset - first))
}

impl Instruction {
    /// The process has other code here than the file.
    ///
    /// # Errors
    ///
    /// When the memory or the file can't be read.
    pub fn is_patched(&self, pid: u32) -> io::Result<bool> {
        let (mut memory, mut file) = ([0; BREAKPOINT], [0; BREAKPOINT]);
        File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut memory, self.address)?;
        File::open(format!("/proc/{pid}/root{}", self.file))?
            .read_exact_at(&mut file, self.offset)?;
        Ok(memory != file)
    }
}

/// Every attach point of the process is the file's own code again.
pub fn assert_restored(points: &[Instruction], pid: u32) {
    const LIMIT: Duration = Duration::from_secs(10);
    let until = Instant::now() + LIMIT;
    assert!(!points.is_empty(), "no attach point to look at");
    for point in points {
        while point.is_patched(pid).expect("code of an own child") {
            assert!(Instant::now() < until, "a breakpoint remains in {point:?}");
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An offset is found in the executable mapping that covers it, and in no other.
    #[test]
    fn offsets_are_found_in_maps() {
        let line = "7f0000001000-7f0000003000 r-xp 00002000 08:01 42   /usr/lib/libc.so.6";
        assert_eq!(
            address(line, "/usr/lib/libc.so.6", 0x2010),
            Some(0x7f00_0000_1010)
        );
        assert_eq!(address(line, "/usr/lib/libc.so.6", 0x4000), None);
        assert_eq!(address(line, "/usr/lib/libm.so.6", 0x2010), None);
        assert_eq!(
            address(&line.replace("r-xp", "r--p"), "/usr/lib/libc.so.6", 0x2010),
            None
        );
        assert_eq!(
            address("7f0000001000-7f0000003000 rw-p 00000000 00:00 0", "", 0),
            None
        );
    }
}
