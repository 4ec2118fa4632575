//! Names of native functions, by blazesym, from the files that the target has mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use crate::capture::{Frame, FrameKind};
use crate::fast_map::FastMap;
use crate::report::clean;
use crate::stack::{self, ModuleId, Stack};
use crate::target::modules::{Module, ModuleTable};

/// Looks native frames up, each (file, offset) once in a run.
pub struct NativeNames {
    symbolizer: Symbolizer,
    /// Leaf first: functions inlined at the place, then the function that the place is in; empty without a symbol.
    known: FastMap<(ModuleId, u64), Box<[Function]>>,
    /// Why a file gave no symbols at all.
    unreadable: BTreeMap<ModuleId, String>,
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
            .field("unreadable", &self.unreadable)
            .finish_non_exhaustive()
    }
}

impl Default for NativeNames {
    fn default() -> Self {
        NativeNames {
            symbolizer: Symbolizer::new(),
            known: FastMap::default(),
            unreadable: BTreeMap::new(),
        }
    }
}

impl NativeNames {
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
            let functions = match modules.modules.get(id.0 as usize) {
                Some(module) => self.look_up(module, &offsets),
                None => Vec::new(),
            };
            let functions = functions
                .into_iter()
                .chain(std::iter::repeat_with(Box::default));
            self.known.extend(
                offsets
                    .into_iter()
                    .map(|offset| (id, offset))
                    .zip(functions),
            );
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

    /// Files that gave no symbols, one sentence each, for the notes of a report.
    pub fn notes(&self, modules: &ModuleTable) -> Vec<String> {
        let note = |(id, why): (&ModuleId, &String)| {
            let module = modules.modules.get(id.0 as usize)?;
            Some(format!(
                "no symbols from {}: {why}",
                clean::name(&module.path.to_string_lossy())
            ))
        };
        self.unreadable.iter().filter_map(note).collect()
    }

    /// Appends the frames of one place, leaf first.
    pub(super) fn push_frames(
        &self,
        id: ModuleId,
        offset: u64,
        modules: &ModuleTable,
        frames: &mut Vec<Frame>,
    ) {
        let module = modules.modules.get(id.0 as usize).map(file_name);
        let functions = self
            .known
            .get(&(id, offset))
            .map(|functions| &**functions)
            .unwrap_or_default();
        if functions.is_empty() {
            let name = module.as_deref().unwrap_or("unknown file");
            let reason = if self.unreadable.contains_key(&id) {
                "unreadable symbols"
            } else {
                "no symbol"
            };
            frames.push(Frame {
                module: module.clone(),
                ..super::unknown(&format!("[{name}+{offset:#x}]"), reason)
            });
        }
        frames.extend(functions.iter().map(|function| Frame {
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
        }));
    }

    /// One entry per offset, or none at all.
    fn look_up(&mut self, module: &Module, offsets: &[u64]) -> Vec<Box<[Function]>> {
        let elf = Elf::new(readable_path(module));
        // Debug information that does not fit (a stale debug link) must not cost the names that the file itself has.
        let plain = Elf {
            debug_syms: false,
            ..elf.clone()
        };
        let mut found = symbolize(&self.symbolizer, &elf, offsets);
        if found
            .as_ref()
            .is_ok_and(|found| found.iter().all(|functions| functions.is_empty()))
            || found.is_err()
        {
            found = symbolize(&self.symbolizer, &plain, offsets);
        }
        found.unwrap_or_else(|why| {
            self.unreadable
                .insert(module.id, clean::name(&why).into_owned());
            Vec::new()
        })
    }
}

/// One entry per offset, empty where there is no symbol.
///
/// # Errors
/// The file has no entry for any offset, because it cannot be read.
fn symbolize(
    symbolizer: &Symbolizer,
    elf: &Elf,
    offsets: &[u64],
) -> Result<Vec<Box<[Function]>>, String> {
    let source = Source::Elf(elf.clone());
    // The file is the target's: a parser that gives up on it by panicking costs its names and not the report.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let found = symbolizer.symbolize(&source, Input::FileOffset(offsets))?;
        let found: Vec<_> = found.iter().map(functions).collect();
        // A batch hides errors; where nothing was found, ask one offset why.
        if let Some(&first) = offsets.first()
            && found.iter().all(|functions| functions.is_empty())
        {
            symbolizer.symbolize_single(&source, Input::FileOffset(first))?;
        }
        Ok::<_, blazesym::Error>(found)
    }));
    match result {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("its symbol tables are malformed".to_owned()),
    }
}

/// blazesym gives the outermost function first, and for each the place within it.
fn functions(found: &Symbolized<'_>) -> Box<[Function]> {
    let Symbolized::Sym(Sym {
        name,
        code_info,
        inlined,
        ..
    }) = found
    else {
        return Box::default();
    };
    let inner = inlined
        .iter()
        .rev()
        .map(|f| function(&f.name, f.code_info.as_ref(), true));
    inner
        .chain([function(name, code_info.as_deref(), false)])
        .collect()
}

fn function(name: &str, place: Option<&CodeInfo<'_>>, inlined: bool) -> Function {
    Function {
        name: clean::name(without_parameters(name)).into_owned(),
        inlined,
        file: place.map(|place| clean::name(&place.to_path().to_string_lossy()).into_owned()),
        line: place.and_then(|place| place.line),
    }
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

/// The path by which blazesym opens the file: the real one where it is the same file, since debug links and separate
/// debug files are found beside it; else the open descriptor, which is right in any namespace and after a deletion.
fn readable_path(module: &Module) -> PathBuf {
    let same = |ours: &std::fs::Metadata, theirs: &std::fs::Metadata| {
        (ours.dev(), ours.ino(), ours.size()) == (theirs.dev(), theirs.ino(), theirs.size())
    };
    match (std::fs::metadata(&module.path), module.file.metadata()) {
        (Ok(ours), Ok(theirs)) if same(&ours, &theirs) => module.path.clone(),
        _ => PathBuf::from(format!("/proc/self/fd/{}", module.file.as_raw_fd())),
    }
}

fn file_name(module: &Module) -> String {
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
