//! Bringing the table up to date with what is mapped.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::stack::ModuleId;

use super::maps::{self, Mapping};
use super::{FileKey, MappedRange, Module, ModuleTable, Owner, Span, elf, open};

const VDSO: &[u8] = b"[vdso]";
/// Files of a whole run, each of which stays open. Full: code of further ones has no names.
const MAX_MODULES: usize = 1 << 14;

impl ModuleTable {
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
        if (mapping.inode == 0 && mapping.name != VDSO) || self.not_elf.contains(&key(mapping)) {
            return Owner::Anonymous;
        }
        if let Some(index) = self.known(mapping) {
            self.modules[index].deleted = mapping.deleted;
            return Owner::Module {
                index,
                file_offset: mapping.file_offset,
            };
        }
        if self.modules.len() >= MAX_MODULES {
            self.pass_over(mapping);
            return Owner::Anonymous;
        }
        let Some(file) = self.open(pid, mapping, all) else {
            return Owner::Anonymous;
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

    /// The file behind a mapping; None for one that is not ELF.
    fn open(&mut self, pid: u32, mapping: &Mapping<'_>, all: &[Mapping<'_>]) -> Option<File> {
        let opened = match mapping.name {
            VDSO => open::vdso(pid, mapping),
            _ => open::mapped_file(pid, mapping, all),
        };
        match opened {
            Ok(file) if open::is_elf(&file) => Some(file),
            Ok(_) => {
                self.pass_over(mapping);
                None
            }
            // The file is known by its name, but there is nothing to be read of it.
            Err(_) => File::open("/dev/null").ok(),
        }
    }

    /// The file is no module: it is not ELF, or there are too many.
    fn pass_over(&mut self, mapping: &Mapping<'_>) {
        // Most of so many have come and gone.
        if self.not_elf.len() >= MAX_MODULES {
            self.not_elf.clear();
        }
        self.not_elf.insert(key(mapping));
    }

    /// A module that was seen before. While a file is mapped its inode number stays its own, whatever it is renamed to;
    /// a number that was unmapped may have been given to another file, which the name tells.
    fn known(&self, mapping: &Mapping<'_>) -> Option<usize> {
        let path = Path::new(OsStr::from_bytes(mapping.name));
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
            path: PathBuf::from(OsStr::from_bytes(mapping.name)),
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
    let files: HashSet<FileKey> = all
        .iter()
        .filter(|mapping| mapping.executable && mapping.inode != 0)
        .map(key)
        .collect();
    let mut wanted: Vec<_> = all
        .into_iter()
        .filter(|mapping| {
            let probes = mapping.name.starts_with(b"[uprobes");
            probes
                || if mapping.inode == 0 {
                    mapping.executable
                } else {
                    files.contains(&key(mapping))
                }
        })
        .collect();
    // [vsyscall] lies in the kernel's half and is never a return address.
    wanted.retain(|mapping| mapping.name != b"[vsyscall]");
    wanted
}
