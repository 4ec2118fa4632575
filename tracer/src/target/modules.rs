//! The ELF files that the target has mapped.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::stack::ModuleId;

pub mod elf;
pub mod maps;
pub(crate) mod open;
mod refresh;

/// A file mapped by the target, executable at least in part.
#[derive(Clone, Debug)]
pub struct Module {
    pub id: ModuleId,
    /// As the target sees it; ` (deleted)` is cut off and kept in `deleted`. `[vdso]` for the kernel's own library.
    pub path: PathBuf,
    pub deleted: bool,
    pub device: (u32, u32),
    pub inode: u64,
    /// Hexadecimal GNU build id.
    pub build_id: Option<String>,
    /// Opened through the target's own mapping, so that it is the right file in any mount namespace, replaced or
    /// deleted, and stays readable after the target has ended. Reads as empty where the kernel let us not open it.
    pub file: Arc<File>,
    /// Where it is mapped now, ascending; empty once the target has unmapped it.
    pub ranges: Vec<MappedRange>,
}

/// One executable or data mapping of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRange {
    pub start: u64,
    pub end: u64,
    pub file_offset: u64,
    pub executable: bool,
}

/// All modules ever seen in this run; ids stay valid when a file is unmapped.
#[derive(Clone, Debug, Default)]
pub struct ModuleTable {
    pub modules: Vec<Module>,
    /// Changes whenever something is mapped otherwise than before.
    pub generation: u64,
    /// What is mapped now, ascending and disjoint.
    spans: Vec<Span>,
    /// Files with executable mappings that are not ELF: a JIT compiler's memory files.
    not_elf: HashSet<FileKey>,
    /// Files that are mapped now.
    mapped: HashSet<FileKey>,
    /// The `[uprobes]` mappings: at most a page, and its optimised sibling.
    return_probes: Vec<(u64, u64)>,
}

/// What the target would execute at an address.
#[derive(Clone, Copy, Debug)]
pub enum Code<'a> {
    /// Code of a file, and the file offset.
    Module(&'a Module, u64),
    /// Executable memory without an ELF file.
    Anonymous,
    /// The page where the kernel lets probed functions return to.
    ReturnProbe,
    /// Nothing executable.
    None,
}

type FileKey = ((u32, u32), u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
    executable: bool,
    owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Module { index: usize, file_offset: u64 },
    Anonymous,
    ReturnProbe,
}

/// Where the kernel puts the `[uprobes]` page if nothing else is there: the last page of user memory (`xol_add_vma` in
/// kernel/events/uprobes.c). It comes into being with the first probe hit, after the maps may have been read.
#[cfg(target_arch = "x86_64")]
const USUAL_UPROBES_PAGE: u64 = 0x7fff_ffff_e000;
#[cfg(not(target_arch = "x86_64"))]
const USUAL_UPROBES_PAGE: u64 = 0xffff_ffff_f000;

impl ModuleTable {
    /// A table of modules whose ranges are known, for tests and recorded stacks.
    pub fn from_modules(modules: Vec<Module>) -> Self {
        let mut table = ModuleTable {
            modules,
            ..ModuleTable::default()
        };
        for (index, module) in table.modules.iter().enumerate() {
            for range in &module.ranges {
                let owner = Owner::Module {
                    index,
                    file_offset: range.file_offset,
                };
                table.spans.push(Span {
                    start: range.start,
                    end: range.end,
                    executable: range.executable,
                    owner,
                });
            }
        }
        table.spans.sort_by_key(|span| span.start);
        table
    }

    /// The module that has `address` mapped, and the file offset of that address.
    pub fn find(&self, address: u64) -> Option<(&Module, u64)> {
        match self.span(address)? {
            Span {
                start,
                owner: Owner::Module { index, file_offset },
                ..
            } => Some((
                self.modules.get(*index)?,
                file_offset.checked_add(address - start)?,
            )),
            _ => None,
        }
    }

    /// What the target would execute at `address`.
    pub fn code(&self, address: u64) -> Code<'_> {
        match self.span(address) {
            Some(Span {
                executable: true,
                owner,
                ..
            }) => match owner {
                Owner::Module { .. } => self
                    .find(address)
                    .map_or(Code::None, |(module, offset)| Code::Module(module, offset)),
                Owner::Anonymous => Code::Anonymous,
                Owner::ReturnProbe => Code::ReturnProbe,
            },
            None if self.is_return_probe(address) => Code::ReturnProbe,
            _ => Code::None,
        }
    }

    /// Whether `address` is where the kernel lets probed functions return to.
    pub fn is_return_probe(&self, address: u64) -> bool {
        address & !0xfff == USUAL_UPROBES_PAGE
            || self
                .return_probes
                .iter()
                .any(|&(start, end)| (start..end).contains(&address))
    }

    /// Where the kernel lets probed functions return to, once it has mapped that page.
    pub fn return_probe(&self) -> Option<u64> {
        self.return_probes.first().map(|&(start, _)| start)
    }

    /// Whether something else is mapped by now where the table says that a module's code is. False also where the kernel
    /// does not let us know (`/proc/PID/map_files` takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE).
    pub fn is_outdated(&self, pid: u32, id: ModuleId) -> bool {
        let Some(module) = self.get(id).filter(|module| module.inode != 0) else {
            return false;
        };
        let Ok(ours) = module.file.metadata() else {
            return false;
        };
        let mut code = module.ranges.iter().filter(|range| range.executable);
        code.any(|range| {
            let link = format!("/proc/{pid}/map_files/{:x}-{:x}", range.start, range.end);
            match std::fs::metadata(&link) {
                // A file that could not be opened is not told by its number.
                Ok(theirs) => {
                    ours.is_file() && (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino())
                }
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            }
        })
    }

    pub fn get(&self, id: ModuleId) -> Option<&Module> {
        self.modules.get(id.0 as usize)
    }

    fn span(&self, address: u64) -> Option<&Span> {
        let after = self.spans.partition_point(|span| span.start <= address);
        self.spans
            .get(after.checked_sub(1)?)
            .filter(|span| address < span.end)
    }
}

#[cfg(test)]
mod tests;
