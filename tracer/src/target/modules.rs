//! The ELF files that the target has mapped.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::stack::ModuleId;

pub mod elf;
pub mod maps;
mod open;

use maps::Mapping;

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

    /// Reads what `pid` has mapped now and returns the modules that are mapped anew; `generation` changes when anything else
    /// did, too. The table stays as it was when the process has ended.
    ///
    /// # Errors
    /// `NotFound` when the process has ended; else those of reading `/proc/PID/maps`.
    pub fn refresh(&mut self, pid: u32) -> io::Result<Vec<ModuleId>> {
        let text = maps::read(pid)?;
        let wanted = with_code(&text);
        if self.is_current(&wanted) {
            return Ok(Vec::new());
        }
        self.generation += 1;
        for module in &mut self.modules {
            module.ranges.clear();
        }
        self.spans.clear();
        self.return_probes.clear();
        let mut new = Vec::new();
        for mapping in &wanted {
            let owner = self.owner(pid, mapping, &wanted, &mut new);
            self.add(mapping, owner);
        }
        self.mapped = wanted.iter().map(key).collect();
        Ok(new)
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

    pub fn get(&self, id: ModuleId) -> Option<&Module> {
        self.modules.get(id.0 as usize)
    }

    fn span(&self, address: u64) -> Option<&Span> {
        let after = self.spans.partition_point(|span| span.start <= address);
        self.spans
            .get(after.checked_sub(1)?)
            .filter(|span| address < span.end)
    }

    /// Compares without opening or allocating anything: this is what most refreshes come to.
    fn is_current(&self, wanted: &[Mapping<'_>]) -> bool {
        self.spans.len() == wanted.len()
            && self.spans.iter().zip(wanted).all(|(span, mapping)| {
                (span.start, span.end, span.executable)
                    == (mapping.start, mapping.end, mapping.executable)
                    && match span.owner {
                        Owner::Module { index, file_offset } => {
                            self.modules.get(index).is_some_and(|module| {
                                file_offset == mapping.file_offset
                                    && (module.device, module.inode)
                                        == (mapping.device, mapping.inode)
                                    && module.deleted == mapping.deleted
                            })
                        }
                        Owner::Anonymous => {
                            mapping.inode == 0 || self.not_elf.contains(&key(mapping))
                        }
                        Owner::ReturnProbe => true,
                    }
            })
    }

    fn add(&mut self, mapping: &Mapping<'_>, owner: Owner) {
        let Mapping {
            start,
            end,
            executable,
            file_offset,
            ..
        } = *mapping;
        if let Owner::Module { index, .. } = owner
            && let Some(module) = self.modules.get_mut(index)
        {
            module.ranges.push(MappedRange {
                start,
                end,
                file_offset,
                executable,
            });
        }
        if owner == Owner::ReturnProbe {
            self.return_probes.push((start, end));
        }
        self.spans.push(Span {
            start,
            end,
            executable,
            owner,
        });
    }

    fn owner(
        &mut self,
        pid: u32,
        mapping: &Mapping<'_>,
        all: &[Mapping<'_>],
        new: &mut Vec<ModuleId>,
    ) -> Owner {
        if mapping.name.starts_with(b"[uprobes") {
            return Owner::ReturnProbe;
        }
        let vdso = mapping.name == b"[vdso]";
        if (mapping.inode == 0 && !vdso) || self.not_elf.contains(&key(mapping)) {
            return Owner::Anonymous;
        }
        if let Some(index) = self.known(mapping) {
            self.modules[index].deleted = mapping.deleted;
            return Owner::Module {
                index,
                file_offset: mapping.file_offset,
            };
        }
        let opened = if vdso {
            open::vdso(pid, mapping)
        } else {
            open::mapped_file(pid, mapping, all)
        };
        let file = match opened {
            Ok(file) if open::is_elf(&file) => file,
            Ok(_) => {
                self.not_elf.insert(key(mapping));
                return Owner::Anonymous;
            }
            // The file is known by its name, but there is nothing to be read of it.
            Err(_) => match File::open("/dev/null") {
                Ok(empty) => empty,
                Err(_) => return Owner::Anonymous,
            },
        };
        let index = self.insert(mapping, file);
        // Its other mappings follow.
        self.mapped.insert(key(mapping));
        new.push(self.modules[index].id);
        Owner::Module {
            index,
            file_offset: mapping.file_offset,
        }
    }

    /// A module that was seen before. While a file is mapped its inode number stays its own, whatever it is renamed to;
    /// a number that was unmapped may have been given to another file, which the name tells.
    fn known(&self, mapping: &Mapping<'_>) -> Option<usize> {
        let path = Path::new(std::ffi::OsStr::from_bytes(mapping.name));
        let is_mapped = self.mapped.contains(&key(mapping));
        self.modules.iter().rposition(|module| {
            (module.device, module.inode) == (mapping.device, mapping.inode)
                && (is_mapped || module.path == path)
        })
    }

    fn insert(&mut self, mapping: &Mapping<'_>, file: File) -> usize {
        let index = self.modules.len();
        self.modules.push(Module {
            id: ModuleId(index as u32),
            path: PathBuf::from(std::ffi::OsStr::from_bytes(mapping.name)),
            deleted: mapping.deleted,
            device: mapping.device,
            inode: mapping.inode,
            build_id: elf::build_id(&file),
            file: Arc::new(file),
            ranges: Vec::new(),
        });
        index
    }
}

fn key(mapping: &Mapping<'_>) -> FileKey {
    (mapping.device, mapping.inode)
}

/// All mappings of files that are executable somewhere, and executable memory without a file.
fn with_code(text: &[u8]) -> Vec<Mapping<'_>> {
    let all: Vec<_> = maps::parse(text).collect();
    let files: HashMap<FileKey, bool> = all
        .iter()
        .filter(|mapping| mapping.executable && mapping.inode != 0)
        .map(|mapping| (key(mapping), true))
        .collect();
    let mut wanted: Vec<_> = all
        .into_iter()
        .filter(|mapping| {
            let probes = mapping.name.starts_with(b"[uprobes");
            probes
                || if mapping.inode == 0 {
                    mapping.executable
                } else {
                    files.contains_key(&key(mapping))
                }
        })
        .collect();
    // [vsyscall] lies in the kernel's half and is never a return address.
    wanted.retain(|mapping| mapping.name != b"[vsyscall]");
    wanted
}

#[cfg(test)]
mod tests;
