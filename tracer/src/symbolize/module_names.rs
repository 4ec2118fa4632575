//! All that the names of one module come from: its debug information and its symbol tables.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use blazesym::symbolize::Symbolizer;

use super::dwarf::{Dwarf, Known};
use super::separate::Separate;
use super::symbols::Symbols;
use crate::report::clean;
use crate::target::modules::{Module, elf};

/// All that one module's names come from.
#[derive(Debug)]
pub struct ModuleNames {
    pub segments: Vec<elf::Segment>,
    pub dwarf: Option<Dwarf>,
    pub symbols: Option<Symbols>,
    /// Bytes of code that are mapped, or were.
    pub code: u64,
}

impl ModuleNames {
    /// Reads what a look-up needs. What can't be used is added to `troubles`.
    pub fn of(module: &Module, separate: Option<&Separate>, troubles: &mut Vec<String>) -> Self {
        let code = module.ranges.iter().filter(|range| range.executable);
        let mut names = ModuleNames {
            segments: Vec::new(),
            dwarf: None,
            symbols: None,
            code: code.map(|range| range.end - range.start).sum(),
        };
        let Some(segments) = elf::visit(&module.file, elf::segments) else {
            troubles.push("no symbols, since it is no ELF file that can be read".to_owned());
            return names;
        };
        names.segments = segments;
        let separate = separate.filter(|separate| believed(separate, troubles));
        let debug = separate.map(|separate| &separate.file);
        let symbols = guarded(|| Symbols::collect(&module.file, debug, troubles));
        names.symbols = symbols
            .map_err(|why| troubles.push(format!("no symbols: {why}")))
            .ok();
        let shared = separate.and_then(|separate| separate.shared.as_ref());
        let dwarf = guarded(|| {
            let shared = shared.map(|shared| Dwarf::open(shared, None)).transpose()?;
            Dwarf::open(debug.unwrap_or(&module.file), shared.flatten())
        });
        names.dwarf = dwarf.unwrap_or_else(|why| {
            troubles.push(without_lines(&why));
            None
        });
        names
    }

    /// What the debug information knows about each of `addresses`.
    pub fn known(&self, addresses: &[u64], troubles: &mut Vec<String>) -> Vec<Option<Known>> {
        let mut found = vec![None; addresses.len()];
        if let Some(dwarf) = &self.dwarf
            && let Err(why) = guarded(|| dwarf.look_up(addresses, &mut found))
        {
            troubles.push(without_lines(&why));
        }
        found
    }

    /// The symbol at each of `addresses`; nothing at all where there are no symbols.
    pub fn symbols(
        &self,
        symbolizer: &Symbolizer,
        addresses: &[u64],
        troubles: &mut Vec<String>,
    ) -> Vec<Option<String>> {
        let Some(symbols) = &self.symbols else {
            return Vec::new();
        };
        guarded(|| symbols.look_up(symbolizer, addresses)).unwrap_or_else(|why| {
            troubles.push(format!("no symbols: {why}"));
            Vec::new()
        })
    }
}

fn believed(separate: &Separate, troubles: &mut Vec<String>) -> bool {
    let path = clean::name(&separate.path.to_string_lossy()).into_owned();
    match separate.belongs() {
        Ok(true) => return true,
        Ok(false) => troubles.push(format!(
            "{path} is not its debug file, though a link leads there: the checksums differ; install the one of the same build"
        )),
        Err(error) => troubles.push(format!("its debug file {path} is not used: {error}")),
    }
    false
}

fn without_lines(why: &str) -> String {
    format!("some functions have the names of the symbol table, without lines: {why}")
}

/// The files are the target's: a parser that gives up on one by panicking costs its names and not the report.
fn guarded<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("its tables are malformed".to_owned()),
    }
}
