//! The tables in which libjvm describes its own types to debuggers (`vmStructs.cpp`): where each field of each type is.
//!
//! Their addresses are exported symbols; their contents are read from the process, because the JVM fills them in.

use std::collections::HashMap;
use std::fs::File;

use object::{Object, ObjectSymbol};

use crate::target::modules::elf;
use crate::unwind::memory::{Memory, Unreadable};

use super::UnsupportedJvm;

/// JDK 11 has 838 fields, the largest table; JVMCI builds have a few hundred more.
const MAX_ENTRIES: usize = 1 << 14;
/// 48 bytes in all JDKs from 8 to 25.
const MAX_STRIDE: u64 = 256;
/// The longest name in JDK 17 has 83 characters.
const MAX_NAME: usize = 256;
/// Exported symbols of libjvm that are looked at: it has about 1,500.
const MAX_SYMBOLS: usize = 1 << 16;

/// Where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the start of an object; for instance fields.
    pub offset: u64,
    /// In the process; for static fields.
    pub address: u64,
}

/// The fields, type sizes and constants of one JVM.
#[derive(Clone, Debug, Default)]
pub struct VmStructs {
    pub(crate) fields: HashMap<(String, String), Field>,
    pub(crate) sizes: HashMap<String, u64>,
    pub(crate) constants: HashMap<String, i32>,
}

impl VmStructs {
    /// Reads the tables of the libjvm in `file`, loaded `bias` above its stated addresses.
    ///
    /// # Errors
    /// `NotHotSpot` without the exported symbols, `Starting` while the tables are still empty, `BadTables` else.
    pub fn read(memory: &impl Memory, file: &File, bias: u64) -> Result<Self, UnsupportedJvm> {
        let symbols = symbols(file, bias)?;
        let reader = Reader {
            memory,
            symbols: &symbols,
        };
        let structs = VmStructs {
            fields: reader
                .fields()
                .map_err(|_| UnsupportedJvm::BadTables("fields"))?,
            sizes: reader
                .sizes()
                .map_err(|_| UnsupportedJvm::BadTables("types"))?,
            constants: reader.constants().unwrap_or_default(),
        };
        if structs.fields.is_empty() || structs.sizes.is_empty() {
            return Err(UnsupportedJvm::Starting);
        }
        Ok(structs)
    }

    /// The field by the first of `names` (`type::field`) that this JVM has.
    pub fn field(&self, names: &[(&str, &str)]) -> Option<Field> {
        names.iter().find_map(|(class, field)| {
            self.fields
                .get(&(String::from(*class), String::from(*field)))
                .copied()
        })
    }

    /// Size of a type in bytes.
    pub fn size(&self, class: &str) -> Option<u64> {
        self.sizes.get(class).copied()
    }

    pub fn constant(&self, name: &str) -> Option<i32> {
        self.constants.get(name).copied()
    }

    #[cfg(test)]
    pub fn set(&mut self, class: &str, field: &str, place: Field) {
        self.fields.insert((class.into(), field.into()), place);
    }

    #[cfg(test)]
    pub fn set_size(&mut self, class: &str, size: u64) {
        self.sizes.insert(class.into(), size);
    }

    #[cfg(test)]
    pub fn remove(&mut self, class: &str, field: &str) {
        self.fields.remove(&(class.into(), field.into()));
    }
}

/// Addresses of the exported variables in the process.
type Symbols = HashMap<String, u64>;

fn symbols(file: &File, bias: u64) -> Result<Symbols, UnsupportedJvm> {
    let found: Option<Symbols> = elf::visit(file, |elf| {
        let symbols = elf.dynamic_symbols().take(MAX_SYMBOLS);
        symbols
            .filter_map(|symbol| {
                let name = symbol.name().ok()?;
                // The version of a symbol may be part of its name.
                let name = name.split('@').next()?;
                name.starts_with("gHotSpotVM")
                    .then(|| (String::from(name), symbol.address().wrapping_add(bias)))
            })
            .collect()
    });
    match found {
        Some(symbols) if symbols.contains_key("gHotSpotVMStructs") => Ok(symbols),
        Some(_) => Err(UnsupportedJvm::NotHotSpot),
        None => Err(UnsupportedJvm::Unreadable),
    }
}

struct Reader<'a, M> {
    memory: &'a M,
    symbols: &'a Symbols,
}

impl<M: Memory> Reader<'_, M> {
    fn fields(&self) -> Result<HashMap<(String, String), Field>, Unreadable> {
        let at = |name| self.entry_offset("gHotSpotVMStructEntry", name);
        let (class, field) = (at("TypeNameOffset")?, at("FieldNameOffset")?);
        let (offset, address) = (at("OffsetOffset")?, at("AddressOffset")?);
        self.table(
            "gHotSpotVMStructs",
            "gHotSpotVMStructEntryArrayStride",
            class,
            |entry| {
                let key = (
                    self.name(word(entry, class)?)?,
                    self.name(word(entry, field)?)?,
                );
                Some((
                    key,
                    Field {
                        offset: word(entry, offset)?,
                        address: word(entry, address)?,
                    },
                ))
            },
        )
    }

    fn sizes(&self) -> Result<HashMap<String, u64>, Unreadable> {
        let at = |name| self.entry_offset("gHotSpotVMTypeEntry", name);
        let (name, size) = (at("TypeNameOffset")?, at("SizeOffset")?);
        self.table(
            "gHotSpotVMTypes",
            "gHotSpotVMTypeEntryArrayStride",
            name,
            |entry| Some((self.name(word(entry, name)?)?, word(entry, size)?)),
        )
    }

    fn constants(&self) -> Result<HashMap<String, i32>, Unreadable> {
        let at = |name| self.entry_offset("gHotSpotVMIntConstantEntry", name);
        let (name, value) = (at("NameOffset")?, at("ValueOffset")?);
        self.table(
            "gHotSpotVMIntConstants",
            "gHotSpotVMIntConstantEntryArrayStride",
            name,
            |entry| {
                Some((
                    self.name(word(entry, name)?)?,
                    word(entry, value)? as u32 as i32,
                ))
            },
        )
    }

    /// All entries of a table; the first one whose word at `key` is null ends it.
    fn table<K: Eq + std::hash::Hash, V>(
        &self,
        table: &str,
        stride: &str,
        key: usize,
        entry: impl Fn(&[u8]) -> Option<(K, V)>,
    ) -> Result<HashMap<K, V>, Unreadable> {
        let stride = self.symbol(stride)?;
        if !(8..=MAX_STRIDE).contains(&stride) {
            return Err(Unreadable);
        }
        let mut found = HashMap::new();
        let mut address = self.symbol(table)?;
        for _ in 0..MAX_ENTRIES {
            let bytes = self.memory.read_vec(address, stride as usize)?;
            if word(&bytes, key).ok_or(Unreadable)? == 0 {
                return Ok(found);
            }
            found.extend(entry(&bytes));
            address = address.checked_add(stride).ok_or(Unreadable)?;
        }
        Err(Unreadable)
    }

    /// The value of an exported variable.
    fn symbol(&self, name: &str) -> Result<u64, Unreadable> {
        self.memory
            .read_u64(*self.symbols.get(name).ok_or(Unreadable)?)
    }

    fn entry_offset(&self, table: &str, name: &str) -> Result<usize, Unreadable> {
        let offset = self.symbol(&format!("{table}{name}"))?;
        if offset >= MAX_STRIDE {
            Err(Unreadable)
        } else {
            Ok(offset as usize)
        }
    }

    fn name(&self, address: u64) -> Option<String> {
        self.memory.read_name(address, MAX_NAME).ok()
    }
}

/// The word at `offset`, or the low half where an entry ends after it.
fn word(entry: &[u8], offset: usize) -> Option<u64> {
    let rest = entry.get(offset..)?;
    rest.first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .or_else(|| {
            let half = rest.first_chunk()?;
            Some(u64::from(u32::from_le_bytes(*half)))
        })
}
