//! `/proc/PID/smaps`, one mapping at a time.
//!
//! The numbers are the kernel's, in KiB, and become bytes here. Names are the target's: kept as text that is escaped only
//! where it is printed, and believed nowhere.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::target::modules::maps;

/// Mappings that are kept; the kernel's own default limit (`vm.max_map_count`) is 65,530.
pub const MAX_MAPPINGS: usize = 1 << 20;
/// Most that is read: a million mappings have about 700 bytes each.
const MAX_BYTES: u64 = 1 << 30;
/// A longer line is no mapping: paths have 4,096 bytes, escaped at most four times as many.
const MAX_LINE: u64 = 32 << 10;

/// One mapping, with what of it is resident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub readable: bool,
    pub writable: bool,
    pub executable: bool,
    pub shared: bool,
    /// Of `start` in the file.
    pub offset: u64,
    pub device: (u32, u32),
    /// 0 for memory without a file.
    pub inode: u64,
    /// The path, a name in brackets, or nothing; without ` (deleted)`.
    pub name: Arc<str>,
    /// Bytes, as all that follow.
    pub rss: u64,
    pub pss: u64,
    pub swap: u64,
}

impl Mapping {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never true of what the kernel lists.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Readable, writable or executable: not merely reserved.
    pub fn is_accessible(&self) -> bool {
        self.readable || self.writable || self.executable
    }

    /// Private memory without a file and without a name.
    pub fn is_anonymous(&self) -> bool {
        self.inode == 0 && !self.shared && self.name.is_empty()
    }
}

/// What one pass over `smaps` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Smaps {
    /// Ascending and disjoint, as the kernel lists them.
    pub mappings: Vec<Mapping>,
    /// There were more than are kept.
    pub truncated: bool,
}

impl Smaps {
    /// Resident bytes of all mappings.
    pub fn rss(&self) -> u64 {
        let all = self.mappings.iter().map(|mapping| mapping.rss);
        all.fold(0, u64::saturating_add)
    }
}

/// Reads mappings until the end of `text`. What makes no sense is left out.
///
/// # Errors
/// Those of the reader.
pub fn parse(text: impl BufRead) -> io::Result<Smaps> {
    let mut text = text.take(MAX_BYTES);
    let mut names = Names::default();
    let mut smaps = Smaps::default();
    let mut line = Vec::new();
    let mut last = 0;
    // Whether the numbers that follow are those of the last mapping kept.
    let mut open = false;
    while next_line(&mut text, &mut line)? {
        if let Some(mapping) = header(&line, &mut names) {
            open = mapping.start >= last;
            if open && smaps.mappings.len() >= MAX_MAPPINGS {
                smaps.truncated = true;
                break;
            }
            if open {
                last = mapping.end;
                smaps.mappings.push(mapping);
            }
        } else if let (true, Some(mapping)) = (open, smaps.mappings.last_mut()) {
            number(&line, mapping);
        }
    }
    smaps.truncated |= text.limit() == 0;
    Ok(smaps)
}

/// Resident bytes that `smaps_rollup` states.
pub fn rollup(text: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    kilobytes(rest.as_bytes())
}

/// One line without its end; false at the end of the text. Of a line that is too long only the beginning is kept.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if text.by_ref().take(MAX_LINE).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(true);
    }
    let mut rest = Vec::new();
    while text.by_ref().take(MAX_LINE).read_until(b'\n', &mut rest)? > 0 {
        if rest.last() == Some(&b'\n') {
            break;
        }
        rest.clear();
    }
    Ok(true)
}

/// Paths that many mappings share are kept once.
#[derive(Default)]
struct Names(HashMap<Vec<u8>, Arc<str>>);

impl Names {
    fn get(&mut self, name: &[u8]) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let text: Arc<str> = String::from_utf8_lossy(name).into();
        self.0.insert(name.to_vec(), text.clone());
        text
    }
}

fn header(line: &[u8], names: &mut Names) -> Option<Mapping> {
    // Numbers begin with a capital letter and end their name with a colon.
    if !line.first()?.is_ascii_hexdigit() || line.first()?.is_ascii_uppercase() {
        return None;
    }
    let mapping = maps::parse_line(line)?;
    let permissions = line.split(|&byte| byte == b' ').nth(1)?;
    let has = |index: usize, flag: u8| permissions.get(index) == Some(&flag);
    Some(Mapping {
        start: mapping.start,
        end: mapping.end,
        readable: has(0, b'r'),
        writable: has(1, b'w'),
        executable: has(2, b'x'),
        shared: has(3, b's'),
        offset: mapping.file_offset,
        device: mapping.device,
        inode: mapping.inode,
        name: names.get(mapping.name),
        rss: 0,
        pss: 0,
        swap: 0,
    })
}

fn number(line: &[u8], mapping: &mut Mapping) {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return;
    };
    let (name, rest) = line.split_at(colon);
    let place = match name {
        b"Rss" => &mut mapping.rss,
        b"Pss" => &mut mapping.pss,
        b"Swap" => &mut mapping.swap,
        _ => return,
    };
    // No more can be resident than there is, whatever is claimed.
    let length = mapping.end - mapping.start;
    *place = kilobytes(&rest[1..]).unwrap_or(0).min(length);
}

/// `      1234 kB` in bytes.
fn kilobytes(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let number: u64 = text.strip_suffix("kB")?.trim_end().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
80000000-80010000 rw-p 00000000 00:00 0 
Size:                 64 kB
Rss:                  12 kB
Pss:                   8 kB
Swap:                  4 kB
SwapPss:               4 kB
VmFlags: rd wr mr mw me ac 
7f00aa000000-7f00aa200000 r-xp 00001000 fd:01 77   /opt/my jdk/lib/libjvm.so (deleted)
Rss:                 100 kB
Rss:            99999999 kB
";

    /// Permissions, names and numbers of each mapping are those of its own lines, and none is more than its length.
    #[test]
    fn lines() {
        let smaps = parse(TEXT.as_bytes()).unwrap();
        let [heap, code] = &smaps.mappings[..] else {
            panic!("{smaps:?}")
        };
        assert!(heap.is_anonymous() && heap.writable && !heap.executable && !heap.shared);
        assert_eq!(
            (heap.rss, heap.pss, heap.swap),
            (12 << 10, 8 << 10, 4 << 10)
        );
        assert_eq!(&*code.name, "/opt/my jdk/lib/libjvm.so");
        assert!(code.executable && code.offset == 0x1000 && code.inode == 77);
        assert_eq!(code.rss, 0x20_0000);
        assert_eq!(smaps.rss(), (12 << 10) + 0x20_0000);
        assert!(!smaps.truncated);
    }

    /// What is no mapping, goes backwards or is too long is left out, with its numbers.
    #[test]
    fn nonsense() {
        let long = "x".repeat(3 * MAX_LINE as usize);
        let text =
            format!("Rss: 4 kB\n{TEXT}80000000-80010000 rw-p 0 0:0 0\nRss: 8 kB\n{long}\nzz\n");
        let smaps = parse(text.as_bytes()).unwrap();
        assert_eq!(smaps, parse(TEXT.as_bytes()).unwrap());
    }

    /// The sum of a process's own mappings is what its rollup states, up to what it touches meanwhile.
    #[test]
    fn own() {
        let file = std::fs::File::open("/proc/self/smaps").unwrap();
        let smaps = parse(io::BufReader::new(file)).unwrap();
        let total = rollup(&std::fs::read_to_string("/proc/self/smaps_rollup").unwrap()).unwrap();
        assert!(smaps.rss() > 0 && smaps.rss().abs_diff(total) < 64 << 20);
    }
}
