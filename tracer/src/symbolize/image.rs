//! Writing small ELF files.

use object::elf::SHT_STRTAB;

const FILE_HEADER: usize = 64;
const SECTION_HEADER: u16 = 64;
/// Bytes of an entry of a symbol table.
pub const SYMBOL: usize = 24;

/// A section to write.
#[derive(Debug, Default)]
pub struct Written<'a> {
    pub name: &'a str,
    pub kind: u32,
    pub flags: u64,
    /// The number, from 1, of the section that belongs to this one: for a symbol table that with its names.
    pub link: u32,
    pub bytes: &'a [u8],
}

/// A 64-bit little-endian shared object, for no particular machine, with these sections and one of their names.
pub fn elf(sections: &[Written<'_>]) -> Vec<u8> {
    let mut names = vec![0];
    let mut starts = Vec::new();
    for name in sections
        .iter()
        .map(|section| section.name)
        .chain([".shstrtab"])
    {
        starts.push(names.len() as u32);
        names.extend(name.bytes());
        names.push(0);
    }
    let last = Written {
        kind: SHT_STRTAB,
        bytes: &names,
        ..Written::default()
    };
    let mut contents = vec![0; FILE_HEADER];
    let mut headers = vec![0; usize::from(SECTION_HEADER)];
    for (section, name) in sections.iter().chain([&last]).zip(starts) {
        align(&mut contents);
        headers.extend(name.to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        let (offset, size) = (contents.len() as u64, section.bytes.len() as u64);
        let address = 0;
        for word in [section.flags, address, offset, size] {
            headers.extend(word.to_le_bytes());
        }
        let info = 0_u32;
        headers.extend(section.link.to_le_bytes());
        headers.extend(info.to_le_bytes());
        let entry = if section.link == 0 { 0 } else { SYMBOL as u64 };
        for word in [8, entry] {
            headers.extend(word.to_le_bytes());
        }
        contents.extend(section.bytes);
    }
    align(&mut contents);
    let at = contents.len() as u64;
    contents.extend(headers);
    // 64 bits, little endian, version 1.
    contents[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    // ET_DYN, EM_NONE, version 1.
    contents[16..24].copy_from_slice(&[3, 0, 0, 0, 1, 0, 0, 0]);
    contents[40..48].copy_from_slice(&at.to_le_bytes());
    let count = sections.len() as u16 + 2;
    // Sizes of the headers, number of sections, and which has their names.
    for (at, value) in [
        (52, FILE_HEADER as u16),
        (54, 56),
        (58, SECTION_HEADER),
        (60, count),
        (62, count - 1),
    ] {
        contents[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    contents
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}
