//! Finds the functions of the table in an ELF file.
//!
//! The file is the target's and hostile: sizes are bounded, and a file that makes no sense has no functions.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use object::elf::{FileHeader64, PT_LOAD, STT_FUNC};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, ReadRef, SectionIndex};

use crate::target::modules::elf;

use super::pairs::Wanted;
use super::{FUNCTIONS, Function, PREFIXES, Scope, Shape};

/// A function of the table, found in a file.
#[derive(Clone, Debug)]
pub struct Found {
    pub function: Function,
    /// As the file spells it, with the allocator's prefix.
    pub symbol: String,
    /// File offset of the entry.
    pub offset: u64,
    /// Bytes of the function, as far as they are looked at.
    pub code: Vec<u8>,
    /// Known never to call another hooked function.
    pub leaf: bool,
}

/// Bytes of a function that the placement looks at.
const CODE_BYTES: u64 = 4096;
/// Taken for the size of a function whose symbol has none.
const UNSIZED: u64 = 64;

/// Symbols that tell an allocator whose `malloc` and `calloc` end in themselves: glibc, jemalloc, gperftools, mimalloc.
const ALLOCATOR_MARKS: [&str; 4] = ["__libc_malloc", "mallctl", "tc_malloc", "mi_malloc"];

static ROWS: LazyLock<HashMap<&'static str, &'static Function>> =
    LazyLock::new(|| FUNCTIONS.iter().map(|row| (row.name, row)).collect());

/// All functions of the table that `file` defines, each address once, in the table's order.
pub fn resolve(file: &File) -> Vec<Found> {
    resolve_with(file, &Wanted::default())
}

/// The same, and then the functions of pairs.
pub fn resolve_with(file: &File, wanted: &Wanted<'_>) -> Vec<Found> {
    // Symbol tables of programs that are linked statically may be large.
    let symbols = elf::read(file, elf::MAX_TOTAL, |data| {
        Symbols::read(data, wanted).unwrap_or_default()
    });
    let mut found = select(&symbols);
    found.extend(select_pairs(&symbols, wanted));
    for function in &mut found {
        function.code = read_code(
            file,
            function.offset,
            symbols.sizes.get(&function.offset).copied(),
        );
    }
    found
}

/// The symbols of a file that may matter.
#[derive(Default)]
struct Symbols {
    /// Name to file offset.
    offsets: HashMap<String, u64>,
    /// File offset to size in bytes.
    sizes: HashMap<u64, u64>,
    /// The file is linked against a shared zlib.
    needs_zlib: bool,
}

impl Symbols {
    fn read<'data, R: ReadRef<'data>>(data: R, wanted: &Wanted<'_>) -> object::Result<Symbols> {
        let header = FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        let segments = header.program_headers(endian, data)?;
        let sections = header.sections(endian, data)?;
        let mut symbols = Symbols::default();
        for kind in [object::elf::SHT_DYNSYM, object::elf::SHT_SYMTAB] {
            let table = sections.symbols(endian, data, kind)?;
            for symbol in table.iter() {
                let defined = symbol.st_type() == STT_FUNC
                    && symbol.st_shndx(endian) != object::elf::SHN_UNDEF;
                let Ok(name) = symbol.name(endian, table.strings()) else {
                    continue;
                };
                if !defined || !is_interesting(name, wanted) {
                    continue;
                }
                let Some(offset) = file_offset(endian, segments, symbol.st_value(endian)) else {
                    continue;
                };
                let Ok(name) = std::str::from_utf8(name) else {
                    continue;
                };
                symbols.offsets.entry(name.to_owned()).or_insert(offset);
                symbols
                    .sizes
                    .entry(offset)
                    .or_insert(symbol.st_size(endian));
            }
        }
        symbols.needs_zlib = sections
            .iter()
            .filter_map(|section| section.dynamic(endian, data).ok().flatten())
            .any(|(entries, strings)| needs_zlib(endian, data, &sections, entries, strings));
        Ok(symbols)
    }

    /// The prefix under which the file defines an allocator of its own, if it is a whole one.
    fn prefixes(&self) -> impl Iterator<Item = &'static str> {
        PREFIXES.into_iter().filter(|prefix| {
            let has = |name: &str| self.offsets.contains_key(&format!("{prefix}{name}"));
            has("malloc") && has("free") && (has("calloc") || has("realloc"))
        })
    }

    fn is_known_allocator(&self, prefix: &str) -> bool {
        let marked = ALLOCATOR_MARKS
            .iter()
            .any(|mark| self.offsets.contains_key(*mark));
        marked || !prefix.is_empty()
    }

    fn defines_zlib(&self) -> bool {
        ["deflateInit2_", "deflateEnd", "inflateInit2_", "inflateEnd"]
            .iter()
            .all(|name| self.offsets.contains_key(*name))
    }
}

fn is_interesting(name: &[u8], wanted: &Wanted<'_>) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let bare = |prefix: &&str| {
        name.strip_prefix(*prefix)
            .is_some_and(|rest| ROWS.contains_key(rest))
    };
    ROWS.contains_key(name)
        || ALLOCATOR_MARKS.contains(&name)
        || PREFIXES.iter().any(bare)
        || !wanted.of(name).is_empty()
        || wanted.is_mark(name)
}

fn file_offset<P: ProgramHeader<Endian = Endianness>>(
    endian: Endianness,
    segments: &[P],
    address: u64,
) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .find_map(|segment| {
            let within = address.checked_sub(segment.p_vaddr(endian).into())?;
            let size: u64 = segment.p_filesz(endian).into();
            (within < size)
                .then(|| within.checked_add(segment.p_offset(endian).into()))
                .flatten()
        })
}

fn needs_zlib<'data, R: ReadRef<'data>>(
    endian: Endianness,
    data: R,
    sections: &object::read::elf::SectionTable<'data, FileHeader64<Endianness>, R>,
    entries: &[object::elf::Dyn64<Endianness>],
    strings: SectionIndex,
) -> bool {
    use object::read::elf::Dyn;
    let Ok(strings) = sections.strings(endian, data, strings) else {
        return false;
    };
    entries
        .iter()
        .filter(|entry| entry.tag(endian) == object::elf::DT_NEEDED)
        .any(|entry| {
            entry
                .string(endian, strings)
                .is_ok_and(|name| name.starts_with(b"libz.so"))
        })
}

fn select(symbols: &Symbols) -> Vec<Found> {
    let mut taken = HashSet::new();
    let mut found = Vec::new();
    for row in FUNCTIONS {
        for prefix in std::iter::once("").chain(symbols.prefixes()) {
            let symbol = format!("{prefix}{}", row.name);
            let Some(&offset) = symbols.offsets.get(&symbol) else {
                continue;
            };
            if !applies(row, prefix, symbols) || !taken.insert((offset, row.shape)) {
                continue;
            }
            let leaf =
                matches!(row.name, "malloc" | "calloc") && symbols.is_known_allocator(prefix);
            found.push(Found {
                function: *row,
                symbol,
                offset,
                code: Vec::new(),
                leaf,
            });
        }
    }
    found
}

/// Functions of pairs, each once for each pair; symbols of one address are one function.
fn select_pairs(symbols: &Symbols, wanted: &Wanted<'_>) -> Vec<Found> {
    let mut names: Vec<_> = symbols.offsets.iter().collect();
    names.sort_unstable();
    let mut taken = HashSet::new();
    let mut found = Vec::new();
    for (symbol, &offset) in names {
        if !wanted.applies(symbol, |mark| symbols.offsets.contains_key(mark)) {
            continue;
        }
        for function in wanted.of(symbol) {
            let pair = function.pair.map(|membership| membership.pair);
            if taken.insert((offset, function.shape, pair)) {
                found.push(Found {
                    function: *function,
                    symbol: symbol.clone(),
                    offset,
                    code: Vec::new(),
                    leaf: false,
                });
            }
        }
    }
    found
}

fn applies(row: &Function, prefix: &str, symbols: &Symbols) -> bool {
    let in_place = match row.scope {
        Scope::Anywhere => true,
        Scope::Allocator => symbols.offsets.contains_key("malloc") || !prefix.is_empty(),
        Scope::StrippedZip => !symbols.defines_zlib() && !symbols.needs_zlib,
    };
    // Only the malloc family comes with a prefix.
    let prefixable = matches!(row.shape, Shape::Allocate | Shape::Reallocate | Shape::Free);
    in_place && (prefix.is_empty() || prefixable)
}

fn read_code(file: &File, offset: u64, size: Option<u64>) -> Vec<u8> {
    let size = match size {
        None | Some(0) => UNSIZED,
        Some(size) => size.min(CODE_BYTES),
    };
    let mut code = vec![0; size as usize];
    match file.read_at(&mut code, offset) {
        Ok(read) => code.truncate(read),
        Err(_) => code.clear(),
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::fixture::{ElfImage, memory_file};

    /// A file that is said to be huge, with a symbol table that is, has no functions, and costs no memory to read.
    #[test]
    fn huge_symbol_table() {
        let mut image = ElfImage::new()
            .symbols([("malloc", 0x80), ("free", 0x90), ("calloc", 0xa0)])
            .build();
        assert_eq!(resolve(&memory_file(&image).unwrap()).len(), 3);
        // The third section's size: `e_shoff`, then `sh_size`.
        let sections = u64::from_le_bytes(*image[40..].first_chunk().unwrap()) as usize;
        let size = sections + 2 * 64 + 32;
        image[size..size + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        let file = memory_file(&image).unwrap();
        file.set_len(1 << 41).unwrap();
        assert!(resolve(&file).is_empty());
    }
}
