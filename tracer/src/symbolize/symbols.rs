//! Symbol tables: those of a file, those of its debug file, and those packed into it (mini debug info).
//!
//! blazesym looks names up, but not in the file itself: it maps what it reads, so that a file that its owner cuts off
//! would end us with `SIGBUS`; it opens whatever a link in the file names; and it believes the sizes that the file
//! states. So the functions of all tables are written into one small ELF file in memory, with numbers that make sense,
//! and that is what it gets.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use object::elf::{SHT_DYNSYM, SHT_STRTAB, SHT_SYMTAB};
use object::{Object, ObjectSymbol, SymbolKind};

use super::image::{self, SYMBOL, Written};
use super::sections::{Sections, read_bounded};
use crate::target::modules::{elf, open};

/// Functions that are kept of one file; libjvm 17 has 59,000.
const MAX_FUNCTIONS: usize = 3_000_000;
/// Bytes of names that are kept of one file.
const MAX_NAMES: usize = 256 << 20;
/// Longer names are no names. Those of C++ templates reach tens of kilobytes.
const MAX_NAME: usize = 64 << 10;
/// What mini debug info may unpack to; all symbols of libjvm 17 are 4 MiB.
const MAX_MINI: u64 = 256 << 20;
/// What unpacking it may take; `xz -9` needs 65 MiB.
const MAX_UNPACKING_KIB: u32 = 128 << 10;

/// The functions of one file, ready to be looked up.
#[derive(Debug)]
pub struct Symbols {
    image: File,
    /// More than the exported functions are known.
    pub full: bool,
}

#[derive(Default)]
struct Table {
    /// Entries of a symbol table.
    entries: Vec<u8>,
    names: Vec<u8>,
}

impl Symbols {
    /// Collects the functions of a file and of its debug file, if it has one. What is odd is added to `notes`.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn collect(
        file: &Arc<File>,
        debug: Option<&Arc<File>>,
        notes: &mut Vec<String>,
    ) -> io::Result<Self> {
        let (mut all, mut exported) = (Table::new(), Table::new());
        elf::visit(file, |elf| {
            all.take(elf.symbols());
            exported.take(elf.dynamic_symbols());
        });
        if let Some(debug) = debug {
            elf::visit(debug, |elf| all.take(elf.symbols()));
        }
        if all.is_empty() {
            match mini(file) {
                Ok(Some(mini)) => {
                    elf::visit(&mini, |elf| all.take(elf.symbols()));
                }
                Ok(None) => {}
                Err(why) => notes.push(format!("its .gnu_debugdata is not used: {why}")),
            }
        }
        Ok(Symbols {
            full: !all.is_empty(),
            image: open::in_memory(c"offheap-symbols", &image(&all, &exported))?,
        })
    }

    /// The symbol at each address, as the linker knows it.
    ///
    /// # Errors
    /// As blazesym states them.
    pub fn look_up(
        &self,
        symbolizer: &Symbolizer,
        addresses: &[u64],
    ) -> Result<Vec<Option<String>>, String> {
        let source = Source::Elf(Elf {
            debug_syms: false,
            ..Elf::new(PathBuf::from(format!(
                "/proc/self/fd/{}",
                self.image.as_raw_fd()
            )))
        });
        let found = symbolizer
            .symbolize(&source, Input::VirtOffset(addresses))
            .map_err(|error| format!("{error:#}"))?;
        let name = |symbol: &Symbolized<'_>| match symbol {
            Symbolized::Sym(symbol) => Some(symbol.name.clone().into_owned()),
            Symbolized::Unknown(_) => None,
        };
        Ok(found.iter().map(name).collect())
    }
}

/// The file that is packed into `file`.
fn mini(file: &Arc<File>) -> io::Result<Option<File>> {
    let Some(sections) = Sections::of(file).filter(|sections| sections.has(".gnu_debugdata"))
    else {
        return Ok(None);
    };
    let packed = sections.load(".gnu_debugdata")?;
    let unpacking = lzma_rust2::XzReader::new_mem_limit(&packed[..], false, MAX_UNPACKING_KIB);
    let bytes = read_bounded(unpacking, MAX_MINI)?;
    open::in_memory(c"offheap-debugdata", &bytes).map(Some)
}

impl Table {
    fn new() -> Self {
        // Name 0 is no name, and so is symbol 0.
        Table {
            entries: vec![0; SYMBOL],
            names: vec![0],
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.len() == SYMBOL
    }

    fn take<'data>(&mut self, symbols: impl Iterator<Item = impl ObjectSymbol<'data>>) {
        for symbol in symbols {
            let name = symbol.name_bytes().unwrap_or_default();
            let (start, size) = (symbol.address(), symbol.size());
            // Symbols without a type are labels of assembly code.
            let code = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown);
            let named = (1..=MAX_NAME).contains(&name.len()) && !name.starts_with(b"$");
            if symbol.section_index().is_none()
                || !code
                || !named
                || start == 0
                || start.checked_add(size).is_none()
                || std::str::from_utf8(name).is_err()
            {
                continue;
            }
            if self.entries.len() / SYMBOL >= MAX_FUNCTIONS
                || self.names.len() + name.len() >= MAX_NAMES
            {
                return;
            }
            self.entries.extend((self.names.len() as u32).to_le_bytes());
            // A global function, visible, in section 1.
            self.entries.extend([0x12, 0, 1, 0]);
            self.entries.extend(start.to_le_bytes());
            self.entries.extend(size.to_le_bytes());
            self.names.extend(name);
            self.names.push(0);
        }
    }
}

/// An ELF file with two symbol tables.
fn image(all: &Table, exported: &Table) -> Vec<u8> {
    let section = |name, kind, link, bytes| Written {
        name,
        kind,
        link,
        bytes,
        ..Written::default()
    };
    image::elf(&[
        section(".symtab", SHT_SYMTAB, 2, &all.entries),
        section(".strtab", SHT_STRTAB, 0, &all.names),
        section(".dynsym", SHT_DYNSYM, 4, &exported.entries),
        section(".dynstr", SHT_STRTAB, 0, &exported.names),
    ])
}

#[cfg(test)]
mod tests;
