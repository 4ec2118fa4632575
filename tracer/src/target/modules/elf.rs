//! Reading ELF files that a hostile target may have written, or may be truncating right now.
//!
//! Nothing is mapped: a mapping of a file that shrinks is a `SIGBUS`. Reads go through `pread`, so that the file
//! position, which everybody who holds the file shares, does not move.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::endian::LittleEndian;
use object::read::elf::ElfFile64;
use object::read::{ReadCache, ReadCacheOps};
use object::{Object, ObjectSection, ReadRef};

/// The largest piece of a file that is read at once.
const MAX_READ: u64 = 64 << 20;
/// All that is read from one file in one visit.
pub const MAX_TOTAL: u64 = 256 << 20;
/// What a cached piece takes besides its bytes.
const PIECE: u64 = 64;

/// A 64-bit little-endian ELF file, read in bounds.
pub type Elf<'a> = ElfFile64<'a, LittleEndian, Bounded<'a>>;

/// Parses `file` and hands it to `visit`; `None` where it is not a 64-bit little-endian ELF file or can't be read.
pub fn visit<T>(file: &File, visit: impl FnOnce(&Elf<'_>) -> T) -> Option<T> {
    read(file, MAX_READ, |data| {
        Elf::parse(data).ok().map(|elf| visit(&elf))
    })
}

/// Hands the bytes of `file` to `read`, in pieces of at most `max_piece` bytes.
pub fn read<T>(file: &File, max_piece: u64, read: impl FnOnce(Bounded<'_>) -> T) -> T {
    let cache = ReadCache::new(Pread { file, position: 0 });
    let budget = Cell::new(MAX_TOTAL);
    read(Bounded {
        cache: &cache,
        budget: &budget,
        max_piece,
    })
}

/// The GNU build id of `file`, in hexadecimal.
pub fn build_id(file: &File) -> Option<String> {
    visit(file, |elf| {
        elf.build_id().ok().flatten().map(|id| {
            id.iter()
                .take(64)
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
    })
    .flatten()
}

/// Address and bytes of a section, as the file states them.
pub fn section(elf: &Elf<'_>, name: &str) -> Option<(u64, Vec<u8>)> {
    let section = elf.section_by_name(name)?;
    let data = section.data().ok()?;
    (!data.is_empty()).then(|| (section.address(), data.to_vec()))
}

/// A loadable segment: which part of the file is which address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub file: Range<u64>,
    /// The address that the file states for the first byte.
    pub address: u64,
}

/// All loadable segments.
pub fn segments(elf: &Elf<'_>) -> Vec<Segment> {
    use object::ObjectSegment;
    elf.segments()
        .take(256)
        .filter_map(|segment| {
            let (offset, size) = segment.file_range();
            Some(Segment {
                file: offset..offset.checked_add(size)?,
                address: segment.address(),
            })
        })
        .collect()
}

/// The stated address of a place in the file. The last page of a segment is mapped whole, so up to a page beyond the
/// segment's end is accepted where no segment claims it.
pub fn stated_address(segments: &[Segment], file_offset: u64) -> Option<u64> {
    let within = |slack: u64| {
        segments.iter().find(|segment| {
            let start = segment.file.start & !(slack);
            (start..segment.file.end.saturating_add(slack)).contains(&file_offset)
        })
    };
    let segment = within(0).or_else(|| within(0xfff))?;
    Some(
        segment
            .address
            .wrapping_add(file_offset.wrapping_sub(segment.file.start)),
    )
}

/// A cache of a file's bytes that refuses to grow beyond its bounds.
#[derive(Clone, Copy)]
pub struct Bounded<'a> {
    cache: &'a ReadCache<Pread<'a>>,
    budget: &'a Cell<u64>,
    max_piece: u64,
}

impl Bounded<'_> {
    fn spend(self, size: u64) -> Result<(), ()> {
        if size > self.max_piece {
            return Err(());
        }
        let spent = size.checked_add(PIECE).ok_or(())?;
        self.budget
            .set(self.budget.get().checked_sub(spent).ok_or(())?);
        Ok(())
    }
}

impl<'a> ReadRef<'a> for Bounded<'a> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.spend(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let found = self.cache.read_bytes_at_until(range, delimiter)?;
        self.spend(found.len() as u64)?;
        Ok(found)
    }
}

/// A file with a position of its own.
pub struct Pread<'a> {
    file: &'a File,
    position: u64,
}

impl ReadCacheOps for Pread<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(drop)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ()> {
        let read = self.file.read_at(buf, self.position).map_err(drop)?;
        self.position = self.position.checked_add(read as u64).ok_or(())?;
        Ok(read)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), ()> {
        self.file.read_exact_at(buf, self.position).map_err(drop)?;
        self.position = self.position.checked_add(buf.len() as u64).ok_or(())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The running test is an ELF file whose sections and segments can be read.
    #[test]
    fn own_executable() {
        let file = File::open("/proc/self/exe").unwrap();
        let (segments, eh_frame) =
            visit(&file, |elf| (segments(elf), section(elf, ".eh_frame"))).unwrap();
        assert!(!segments.is_empty());
        assert!(eh_frame.unwrap().1.len() > 1000);
        let first = &segments[0];
        assert_eq!(
            stated_address(&segments, first.file.start),
            Some(first.address)
        );
    }

    /// A truncated and an overwritten ELF file are refused or read in part, without a panic.
    #[test]
    fn broken_files() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for keep in [0, 3, 4, 63, 64, 100, 1000, 5000] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..keep]).unwrap();
            visit(&file, |elf| (segments(elf), section(elf, ".eh_frame")));
            assert_eq!(build_id(&file), None.or_else(|| build_id(&file)));
        }
        for at in 0..64 {
            let mut bytes = whole[..8192].to_vec();
            bytes[at] ^= 0xff;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            visit(&file, |elf| {
                (segments(elf), section(elf, ".eh_frame"), build_id(&file))
            });
        }
    }
}
