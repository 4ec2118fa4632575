//! Names of native functions, from the files that the target has mapped and their debug files.
//!
//! Names are frozen when a module is first seen, which is before any stack leads into it: the module's file is open
//! then, opened through the target's own mapping ([`crate::target::modules`]), and so is its debug file. From there on
//! neither the target nor a path is needed, so a file that is replaced, deleted or unmapped, a namespace that is gone
//! and a target that has ended take no name away. Code that was never in a file (the vDSO) is copied out of memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use blazesym::symbolize::Symbolizer;

use super::demangle::demangle;
use super::dwarf::{self, Known};
use super::module_names::ModuleNames;
use super::separate::{Roots, Separate};
use crate::capture::{Frame, FrameKind};
use crate::fast_map::FastMap;
use crate::heap;
use crate::report::clean;
use crate::stack::{self, ModuleId, Stack};
use crate::target::modules::{Module, ModuleTable, elf};

/// A file with more code than this is said to be without debug information, if it is.
const MUCH_CODE: u64 = 1 << 20;

/// Looks native frames up, each (file, offset) once in a run.
pub struct NativeNames {
    roots: Roots,
    symbolizer: Symbolizer,
    /// Leaf first: functions inlined at the place, then the function that the place is in; empty without a symbol.
    known: FastMap<(ModuleId, u64), Box<[Function]>>,
    /// Debug files, opened when their module was first seen.
    separate: HashMap<ModuleId, Option<Separate>>,
    /// What was read of each module that a frame was in.
    sources: HashMap<ModuleId, ModuleNames>,
    /// What went wrong with a module.
    troubles: BTreeMap<ModuleId, Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Function {
    name: String,
    inlined: bool,
    file: Option<String>,
    line: Option<u32>,
}

impl std::fmt::Debug for NativeNames {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NativeNames")
            .field("known", &self.known.len())
            .field("troubles", &self.troubles)
            .finish_non_exhaustive()
    }
}

impl Default for NativeNames {
    fn default() -> Self {
        NativeNames::of(None)
    }
}

impl NativeNames {
    /// For a target with this root folder; debug files are looked for in ours, too.
    pub fn of(target_root: Option<File>) -> Self {
        NativeNames {
            roots: Roots::of(target_root),
            symbolizer: symbolizer(),
            known: FastMap::default(),
            separate: HashMap::new(),
            sources: HashMap::new(),
            troubles: BTreeMap::new(),
        }
    }

    /// Opens the debug files of modules that are mapped anew, while the target is there. Reads next to nothing.
    pub fn freeze(&mut self, new: &[ModuleId], modules: &ModuleTable) {
        for module in new.iter().filter_map(|id| modules.get(*id)) {
            let roots = &self.roots;
            self.separate
                .entry(module.id)
                .or_insert_with(|| separate(roots, module));
        }
    }

    /// Looks up all native frames of the stacks, one batch per file. Call it with many stacks before naming each.
    pub fn resolve<'a>(
        &mut self,
        stacks: impl IntoIterator<Item = &'a Stack>,
        modules: &ModuleTable,
    ) {
        let mut wanted: BTreeMap<ModuleId, BTreeSet<u64>> = BTreeMap::new();
        for frame in stacks.into_iter().flat_map(|stack| &stack.frames) {
            if let stack::Frame::Native { module, offset } = frame
                && !self.known.contains_key(&(*module, *offset))
            {
                wanted.entry(*module).or_default().insert(*offset);
            }
        }
        for (id, offsets) in wanted {
            let offsets: Vec<u64> = offsets.into_iter().collect();
            let functions = match modules.get(id) {
                Some(module) => self.look_up(module, &offsets),
                None => Vec::new(),
            };
            let functions = functions
                .into_iter()
                .chain(std::iter::repeat_with(Box::default));
            let keys = offsets.into_iter().map(|offset| (id, offset));
            self.known.extend(keys.zip(functions));
            // The pieces of debug information that were just read.
            heap::give_back();
        }
    }

    /// Names the entry of a hooked function as its callers call it: debug information often knows the same code by an
    /// internal alias (`__GI___libc_malloc`).
    pub fn call(&mut self, module: ModuleId, entry: u64, name: &str) {
        let function = Function {
            name: name.to_owned(),
            inlined: false,
            file: None,
            line: None,
        };
        self.known.insert((module, entry), Box::new([function]));
    }

    /// What the reader has to know about names: what was not used and why, and what is missing.
    pub fn notes(&self, modules: &ModuleTable) -> Vec<String> {
        let mut notes = Vec::new();
        for (id, troubles) in &self.troubles {
            let Some(module) = modules.get(*id) else {
                continue;
            };
            let path = clean::name(&module.path.to_string_lossy()).into_owned();
            notes.extend(troubles.iter().map(|why| format!("{path}: {why}")));
        }
        notes.extend(self.missing(modules));
        notes
    }

    /// One sentence on the big files without debug information.
    fn missing(&self, modules: &ModuleTable) -> Option<String> {
        let mut files: Vec<String> = Vec::new();
        for (id, sources) in &self.sources {
            let Some(module) = modules.get(*id).filter(|_| sources.code >= MUCH_CODE) else {
                continue;
            };
            match &sources.symbols {
                _ if sources.dwarf.is_some() => {}
                Some(symbols) if symbols.full => files.push(file_name(module)),
                _ => files.push(format!("{} (exported functions only)", file_name(module))),
            }
        }
        files.sort();
        files.dedup();
        (!files.is_empty()).then(|| {
            format!(
                "no debug information for {}: native functions there have no lines and no inlined callees; debug \
                 symbols of the same build, installed on this host or in the target's own root, are found by themselves",
                files.join(", ")
            )
        })
    }

    /// The frames of one place, leaf first: what was inlined there, and the function itself.
    pub(super) fn frames(&self, id: ModuleId, offset: u64, modules: &ModuleTable) -> Vec<Frame> {
        let module = modules.get(id).map(file_name);
        let functions = self.known.get(&(id, offset)).map(|functions| &**functions);
        let Some(functions) = functions.filter(|functions| !functions.is_empty()) else {
            let name = module.as_deref().unwrap_or("unknown file");
            let readable = self
                .sources
                .get(&id)
                .is_none_or(|sources| sources.symbols.is_some());
            let reason = if readable {
                "no symbol"
            } else {
                "unreadable symbols"
            };
            let unnamed = super::unknown(&format!("[{name}+{offset:#x}]"), reason);
            return vec![Frame { module, ..unnamed }];
        };
        let frames = functions.iter().map(|function| Frame {
            name: function.name.clone(),
            kind: if function.inlined {
                FrameKind::Inlined
            } else {
                FrameKind::Native
            },
            module: module.clone(),
            file: function.file.clone(),
            line: function.line,
            reason: None,
        });
        frames.collect()
    }

    /// One entry per offset, or none at all.
    fn look_up(&mut self, module: &Module, offsets: &[u64]) -> Vec<Box<[Function]>> {
        self.freeze_one(module);
        let troubles = self.troubles.entry(module.id).or_default();
        let separate = self.separate.get(&module.id).and_then(Option::as_ref);
        let sources = self
            .sources
            .entry(module.id)
            .or_insert_with(|| ModuleNames::of(module, separate, troubles));
        let places: Vec<Option<u64>> = offsets
            .iter()
            .map(|offset| elf::stated_address(&sources.segments, *offset))
            .collect();
        let addresses: Vec<u64> = places.iter().copied().flatten().collect();
        let mut known = sources.known(&addresses, troubles).into_iter();
        let mut symbols = sources
            .symbols(&self.symbolizer, &addresses, troubles)
            .into_iter();
        troubles.dedup();
        places
            .into_iter()
            .map(|place| match place {
                Some(_) => functions(known.next().flatten(), symbols.next().flatten()),
                None => Box::default(),
            })
            .collect()
    }

    fn freeze_one(&mut self, module: &Module) {
        let roots = &self.roots;
        self.separate
            .entry(module.id)
            .or_insert_with(|| separate(roots, module));
    }
}

/// Names are demangled here, within bounds, and only those that are mangled: blazesym takes a C function `f` for the C++
/// type `float`.
pub(super) fn symbolizer() -> Symbolizer {
    Symbolizer::builder().enable_demangling(false).build()
}

fn separate(roots: &Roots, module: &Module) -> Option<Separate> {
    let sections = super::sections::Sections::of(&module.file)?;
    if sections.has(".debug_info") {
        return None;
    }
    roots.find(module, &sections)
}

/// The frames of one place. Debug information knows functions better than the symbol table, but not all of them.
fn functions(known: Option<Known>, symbol: Option<String>) -> Box<[Function]> {
    let known = known.unwrap_or_default();
    let function = |name: Option<&str>, inlined, place: dwarf::Place| {
        Some(Function {
            name: clean::name(without_parameters(&demangle(name?))).into_owned(),
            inlined,
            file: place.file.map(|file| clean::name(&file).into_owned()),
            line: place.line,
        })
    };
    if known.functions.is_empty() {
        return function(symbol.as_deref(), false, known.place)
            .into_iter()
            .collect();
    }
    let symbol = symbol.as_deref();
    let all = known.functions.into_iter().map(|f| {
        // The symbol is that of the function that the linker sees.
        let name = f.name.as_deref();
        let name = if f.inlined {
            name.or(Some("[unnamed]"))
        } else {
            name.or(symbol).or(Some("[unnamed]"))
        };
        function(name, f.inlined, f.place)
    });
    all.flatten().collect()
}

/// Cuts the parameter list off a demangled C++ name: `os::malloc(unsigned long, MEMFLAGS)` becomes `os::malloc`.
fn without_parameters(name: &str) -> &str {
    let mut end = name;
    for suffix in [" const", " volatile", " &", " &&"] {
        end = end.strip_suffix(suffix).unwrap_or(end);
    }
    if !end.ends_with(')') {
        return name;
    }
    let mut depth = 0usize;
    for (at, byte) in end.bytes().enumerate().rev() {
        match byte {
            b')' => depth += 1,
            b'(' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let kept = &end[..at];
            return if kept.is_empty() || kept.ends_with("operator") {
                name
            } else {
                kept
            };
        }
    }
    name
}

/// The name of a module in frames: its file, without the directory.
pub fn file_name(module: &Module) -> String {
    // `Path::file_name` takes the path apart from its beginning on, and this is done for each frame.
    let path = module.path.as_os_str().as_bytes();
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    clean::name(&String::from_utf8_lossy(name)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::without_parameters;

    /// Proves that parameters go and everything else of a name stays.
    #[test]
    fn parameters_are_cut_off() {
        let cases = [
            ("malloc", "malloc"),
            ("os::malloc(unsigned long, MEMFLAGS)", "os::malloc"),
            ("A::f(void (*)(int)) const", "A::f"),
            ("A::operator()(int)", "A::operator()"),
            ("A::operator()", "A::operator()"),
            (
                "(anonymous namespace)::g((anonymous namespace)::T)",
                "(anonymous namespace)::g",
            ),
            ("void f<int>(int)", "void f<int>"),
            (
                "core::ops::FnOnce<(A,)>::call",
                "core::ops::FnOnce<(A,)>::call",
            ),
            (")", ")"),
            ("()", "()"),
            ("a)b)", "a)b)"),
            ("", ""),
        ];
        for (name, cut) in cases {
            assert_eq!(without_parameters(name), cut);
        }
    }
}
