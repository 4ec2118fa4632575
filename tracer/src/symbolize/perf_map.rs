//! Names of generated code, as JIT compilers write them down for `perf`: `/tmp/perf-PID.map`.
//!
//! The format is `start size name` per line, both numbers hexadecimal (tools/perf/Documentation/jit-interface.txt in
//! the kernel). The target appends while we read, and may write anything.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use anyhow::{Context, Result, ensure};

use crate::report::clean;

/// Most bytes read of one file; what follows is left out and said so.
const MAX_BYTES: u64 = 64 << 20;
/// Most memory that the names of one file take: the shortest lines would take ten times their length.
const MAX_HELD: usize = 48 << 20;
/// What a range takes besides its name's bytes: two addresses, the string, and what maps and allocators add.
const RANGE: usize = 96;
/// Longest line that is looked at.
const MAX_LINE: u64 = 4096;

/// Address ranges of generated code and their names.
#[derive(Clone, Debug, Default)]
pub struct PerfMap {
    file_name: String,
    /// By start: end and name. Ranges do not overlap.
    ranges: BTreeMap<u64, (u64, String)>,
    /// Bytes that the ranges take.
    held: usize,
    /// The file was longer than what is read or kept.
    pub truncated: bool,
}

impl PerfMap {
    /// The perf map of a process, as that process sees it; None where it has none.
    ///
    /// # Errors
    /// The file is there but cannot be read, is no regular file, or belongs neither to the process's user nor to root.
    pub fn of(pid: i32) -> Result<Option<Self>> {
        let status = procfs::process::Process::new(pid)
            .and_then(|process| process.status())
            .with_context(|| format!("cannot read /proc/{pid}/status"))?;
        let inner_pid = status
            .nspid
            .as_deref()
            .and_then(<[i32]>::last)
            .copied()
            .unwrap_or(pid);
        let file_name = format!("perf-{inner_pid}.map");
        let path = format!("/proc/{pid}/root/tmp/{file_name}");
        // No link is followed: it would be resolved in our own root. No opening can block.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot open {path}"))?,
        };
        check_owner(&file, status.euid).with_context(|| format!("{path} is not used"))?;
        Self::parse(&file_name, file)
            .with_context(|| format!("cannot read {path}"))
            .map(Some)
    }

    /// Reads a perf map. Lines that make no sense are skipped; a last line without its line feed is not complete yet.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn parse(file_name: &str, reader: impl Read) -> io::Result<Self> {
        Self::parse_up_to(MAX_BYTES, MAX_HELD, file_name, reader)
    }

    fn parse_up_to(
        max_bytes: u64,
        max_held: usize,
        file_name: &str,
        reader: impl Read,
    ) -> io::Result<Self> {
        let mut map = PerfMap {
            file_name: file_name.to_owned(),
            ..PerfMap::default()
        };
        let mut reader = BufReader::new(reader).take(max_bytes);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)? as u64;
            match line.pop() {
                Some(b'\n') => map.insert_line(&line),
                Some(_) if read == MAX_LINE => reader.skip_until(b'\n').map(drop)?,
                _ => break,
            }
            if map.held > max_held {
                map.truncated = true;
                return Ok(map);
            }
        }
        map.truncated = reader.limit() == 0;
        Ok(map)
    }

    /// The name of the code at an address.
    pub fn name(&self, address: u64) -> Option<&str> {
        let (_, (end, name)) = self.ranges.range(..=address).next_back()?;
        (address < *end).then_some(name)
    }

    /// `perf-123.map`.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    fn insert_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let mut words = line.splitn(3, ' ');
        let mut number = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
        let (Some(start), Some(size)) = (number(), number()) else {
            return;
        };
        let Some(name) = words.next() else { return };
        if let Some(end) = start.checked_add(size).filter(|end| *end > start) {
            self.insert(start, end, clean::name(name).into_owned());
        }
    }

    /// Later lines win: code is thrown away and its place used again.
    fn insert(&mut self, start: u64, end: u64, name: String) {
        if let Some((_, (before_end, _))) = self.ranges.range_mut(..start).next_back() {
            *before_end = start.min(*before_end);
        }
        while let Some((&covered, _)) = self.ranges.range(start..end).next() {
            self.remove(covered);
        }
        self.held += RANGE + name.len();
        self.ranges.insert(start, (end, name));
    }

    fn remove(&mut self, start: u64) {
        if let Some((_, name)) = self.ranges.remove(&start) {
            self.held -= RANGE + name.len();
        }
    }
}

fn check_owner(file: &File, user: u32) -> Result<()> {
    let metadata = file.metadata()?;
    ensure!(metadata.is_file(), "it is no regular file");
    ensure!(
        [0, user].contains(&metadata.uid()),
        "it belongs neither to the process's user nor to root"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &[u8]) -> PerfMap {
        PerfMap::parse("perf-1.map", text).expect("reading from memory")
    }

    /// Proves that addresses are found within their range only, and that names may have spaces.
    #[test]
    fn addresses_have_names() {
        let map = map(b"1000 10 first\n0x2000 0x20 LazyCompile:~f a b.js:1\n");
        assert_eq!(map.name(0x1000), Some("first"));
        assert_eq!(map.name(0x100f), Some("first"));
        assert_eq!(map.name(0x1010), None);
        assert_eq!(map.name(0xfff), None);
        assert_eq!(map.name(0x201f), Some("LazyCompile:~f a b.js:1"));
    }

    /// Proves that the code that was written last is found.
    #[test]
    fn later_code_wins() {
        let map = map(b"1000 100 old\n1080 10 inner\n1100 100 next\n10f0 20 newest\n");
        assert_eq!(map.name(0x1000), Some("old"));
        assert_eq!(map.name(0x1080), Some("inner"));
        assert_eq!(map.name(0x10f8), Some("newest"));
        assert_eq!(map.name(0x1108), Some("newest"));
        assert_eq!(map.name(0x1110), None, "the rest of replaced code is gone");
    }

    /// Proves that nonsense, unfinished and endless lines are skipped, and control characters replaced.
    #[test]
    fn hostile_lines_are_skipped() {
        let mut text =
            b"\n\xff\xfe\nzz 10 x\nffffffffffffffff 10 overflow\n10 0 empty\n10\n10 5\n".to_vec();
        text.extend(b"20 8 a\x1b[2Jb\n30 8 ");
        text.extend(vec![b'x'; 3 * MAX_LINE as usize]);
        text.extend(b"\n40 8 after\n50 8 unfinished");
        let map = map(&text);
        assert_eq!(map.name(0x20), Some("a_[2Jb"));
        assert_eq!(map.name(0x30), None);
        assert_eq!(map.name(0x40), Some("after"));
        assert_eq!(map.name(0x50), None);
        assert_eq!(map.ranges.len(), 2);
    }

    /// Proves that a file that never ends is read up to the bound only.
    #[test]
    fn reading_is_bounded() {
        let map = PerfMap::parse_up_to(100_000, MAX_HELD, "perf-1.map", io::repeat(b'\n'))
            .expect("reading from memory");
        assert!(map.truncated && map.ranges.is_empty());
    }

    /// Proves that what is kept is bounded where lines are short, and that replaced code does not count.
    #[test]
    fn keeping_is_bounded() {
        let distinct: String = (0..1000).map(|at| format!("{at:x} 1 x\n")).collect();
        let kept = |text: &str| {
            PerfMap::parse_up_to(MAX_BYTES, 100 * RANGE, "perf-1.map", text.as_bytes())
                .expect("reading from memory")
        };
        let map = kept(&distinct);
        assert!(
            map.truncated && map.ranges.len() <= 100,
            "{}",
            map.ranges.len()
        );
        let map = kept(&"10 8 again\n".repeat(1000));
        assert!(!map.truncated && map.ranges.len() == 1);
    }

    /// Proves that a process's own map is read, that links and pipes in its place are refused without blocking, and
    /// that no map is no error.
    #[test]
    fn a_process_has_a_map_or_none() {
        let pid = std::process::id() as i32;
        let path = std::path::PathBuf::from(format!("/tmp/perf-{pid}.map"));
        let read = || PerfMap::of(pid).map_err(|error| format!("{error:#}"));
        assert!(read().expect("our own process").is_none());

        std::os::unix::fs::symlink("/proc/self/maps", &path).expect("a link");
        assert!(
            read()
                .expect_err("a link")
                .starts_with("cannot open /proc/")
        );
        std::fs::remove_file(&path).expect("remove the link");

        let name =
            std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no zero byte");
        // SAFETY: `name` is a C string that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0, "a pipe");
        let pipe = read();
        std::fs::remove_file(&path).expect("remove the pipe");
        assert!(pipe.expect_err("a pipe").ends_with("it is no regular file"));

        std::fs::write(&path, "1000 10 js:main\n").expect("a map");
        let map = read();
        std::fs::remove_file(&path).expect("remove the map");
        assert_eq!(
            map.expect("our own file").expect("a map").name(0x1008),
            Some("js:main")
        );
        assert!(PerfMap::of(i32::MAX).is_err());
    }
}
