//! `/proc/PID/maps`, one line at a time.
//!
//! The names in it are chosen by the target: they are kept as bytes and never trusted.

use std::fs::File;
use std::io::{self, Read};

/// More than this is not read: a million mappings is sixteen times the kernel's default limit.
const MAX_BYTES: u64 = 128 << 20;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    pub start: u64,
    pub end: u64,
    pub executable: bool,
    /// Readable, writable or executable: not merely reserved.
    pub accessible: bool,
    pub file_offset: u64,
    pub device: (u32, u32),
    /// 0 for memory without a file.
    pub inode: u64,
    /// The path, a name in brackets, or nothing. ` (deleted)` is cut off.
    pub name: &'a [u8],
    pub deleted: bool,
}

/// The whole text of `/proc/PID/maps`.
///
/// # Errors
/// Those of opening and reading the file; `NotFound` also for a process that has ended and has no memory any more.
pub fn read(pid: u32) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?
        .take(MAX_BYTES)
        .read_to_end(&mut text)?;
    // The kernel writes page by page: a process that ends meanwhile leaves us with the beginning. One that still has
    // memory had it all the time.
    let lives = File::open(format!("/proc/{pid}/maps"))?.read(&mut [0])? > 0;
    if text.is_empty() || !lives {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("process {pid} has ended: it has no memory"),
        ));
    }
    Ok(text)
}

/// The lines of `text` that make sense.
pub fn parse(text: &[u8]) -> impl Iterator<Item = Mapping<'_>> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line)
}

pub(crate) fn parse_line(line: &[u8]) -> Option<Mapping<'_>> {
    let mut rest = line;
    let (start, end) = split_pair(field(&mut rest)?, b'-')?;
    let permissions = field(&mut rest)?;
    let file_offset = hex(field(&mut rest)?)?;
    let (major, minor) = split_pair(field(&mut rest)?, b':')?;
    let inode = std::str::from_utf8(field(&mut rest)?).ok()?.parse().ok()?;
    let name = rest.trim_ascii_start();
    let live = name.strip_suffix(b" (deleted)");
    (start < end).then_some(Mapping {
        start,
        end,
        executable: permissions.get(2) == Some(&b'x'),
        accessible: permissions.iter().take(3).any(|&flag| flag != b'-'),
        file_offset,
        device: (u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        inode,
        name: live.unwrap_or(name),
        deleted: live.is_some(),
    })
}

/// Takes the next field off `rest`.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(rest.len());
    let (field, tail) = rest.split_at(end);
    *rest = tail.get(1..).unwrap_or_default();
    (!field.is_empty()).then_some(field)
}

fn split_pair(text: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((hex(&text[..at])?, hex(&text[at + 1..])?))
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path with spaces and a deleted file keep their names.
    #[test]
    fn names() {
        let text = b"7f00-7f10 r-xp 00001000 fd:01 123   /opt/my lib.so (deleted)\n\
                     7ffe0000-7ffe1000 r-xp 00000000 00:00 0                          [vdso]\n\
                     1000-2000 rwxp 00000000 00:00 0 \n";
        let found: Vec<_> = parse(text).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].name, b"/opt/my lib.so");
        assert!(found[0].deleted && found[0].executable);
        assert_eq!(
            (found[0].device, found[0].inode, found[0].file_offset),
            ((0xfd, 1), 123, 0x1000)
        );
        assert_eq!(found[1].name, b"[vdso]");
        assert_eq!(found[2].name, b"");
    }

    /// Lines that are no mappings are left out without a panic.
    #[test]
    fn nonsense() {
        for text in [
            &b"\n"[..],
            b"-",
            b"1-",
            b"2-1 r-xp 0 0:0 0 x",
            b"1-2",
            b"1-2 r",
            b"zz-1 r-xp 0 0:0 0",
            b"1-2 r-xp 0 0 0",
        ] {
            assert_eq!(
                parse(text).count(),
                0,
                "{:?}",
                String::from_utf8_lossy(text)
            );
        }
    }

    /// The test's own maps are read whole.
    #[test]
    fn own_maps() {
        let text = read(std::process::id()).unwrap();
        let lines = text.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(parse(&text).count(), lines);
    }
}
