//! Frames of mapped files: which file an address belongs to, and the rule to leave it by.

use std::collections::HashMap;

use gimli::UnwindContext;

use crate::stack::{Frame, ModuleId, StackEnd, UnknownReason};
use crate::target::modules::{Code, ModuleTable};

use super::cfi::{CfiTables, Rule};
use super::cursor::{CapturedStack, Cursor};
use super::memory::Memory;
use super::rule::{self, Step};

/// Addresses whose rule is remembered; a JVM's stacks have some ten thousand. When full it starts anew.
const MAX_CACHED: usize = 1 << 16;

/// `mov $__NR_rt_sigreturn, %rax; syscall`: the code that a signal handler returns to, in any libc. musl's has no CFI.
#[cfg(target_arch = "x86_64")]
const SIGNAL_RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// `mov x8, #__NR_rt_sigreturn; svc #0`.
#[cfg(target_arch = "aarch64")]
const SIGNAL_RETURN: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

/// What is known about an address outside of the JVM's code cache.
#[derive(Clone, Debug)]
pub struct NativeCode {
    pub frame: Frame,
    pub kind: CodeKind,
    rule: Option<(ModuleId, Rule)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    File,
    Anonymous,
    NotMapped,
}

/// Unwind tables of the files that stacks have been seen in, and rules that were found.
#[derive(Default)]
pub struct NativeUnwinder {
    tables: HashMap<ModuleId, Option<CfiTables>>,
    cache: HashMap<u64, NativeCode>,
    context: Option<Box<UnwindContext<usize>>>,
}

impl NativeUnwinder {
    /// Forgets what depends on where files are mapped.
    pub fn modules_changed(&mut self) {
        self.cache.clear();
    }

    /// What is at `cursor`.
    pub fn code(
        &mut self,
        modules: &ModuleTable,
        memory: &impl Memory,
        cursor: &Cursor,
    ) -> NativeCode {
        let address = cursor.lookup_address();
        if let Some(known) = self.cache.get(&address) {
            return known.clone();
        }
        let found = self.find(modules, memory, cursor);
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(address, found.clone());
        found
    }

    /// Leaves the frame at `now`.
    ///
    /// # Errors
    /// `NoUnwindInfo` where the file states no rule for this address; else those of [`rule::apply`].
    pub fn step(
        &self,
        code: &NativeCode,
        now: &Cursor,
        stack: &CapturedStack<'_>,
    ) -> Result<Step, StackEnd> {
        let (module, rule) = code.rule.as_ref().ok_or(StackEnd::NoUnwindInfo)?;
        let tables = self
            .tables
            .get(module)
            .and_then(Option::as_ref)
            .ok_or(StackEnd::NoUnwindInfo)?;
        rule::apply(rule, tables, now, stack)
    }

    /// Every address that was looked up so far.
    #[cfg(test)]
    pub fn known(&self) -> Vec<(u64, Frame, Option<Rule>)> {
        let rule = |code: &NativeCode| code.rule.as_ref().map(|(_, rule)| *rule);
        self.cache
            .iter()
            .map(|(&address, code)| (address, code.frame.clone(), rule(code)))
            .collect()
    }

    /// An unwinder that has looked up `known` before, and no more than that.
    pub fn from_known(known: Vec<(u64, Frame, Option<Rule>)>) -> Self {
        let mut unwinder = NativeUnwinder::default();
        for (address, frame, rule) in known {
            let (kind, rule) = match (&frame, rule) {
                (Frame::Native { module, .. }, rule) => {
                    (CodeKind::File, rule.map(|rule| (*module, rule)))
                }
                _ => (CodeKind::NotMapped, None),
            };
            if let Some((module, _)) = rule {
                unwinder.tables.insert(module, Some(CfiTables::default()));
            }
            unwinder
                .cache
                .insert(address, NativeCode { frame, kind, rule });
        }
        unwinder
    }

    fn find(&mut self, modules: &ModuleTable, memory: &impl Memory, cursor: &Cursor) -> NativeCode {
        let address = cursor.lookup_address();
        let unknown = |reason, kind| NativeCode {
            frame: Frame::Unknown { address, reason },
            kind,
            rule: None,
        };
        let (module, offset) = match modules.code(address) {
            Code::Module(module, offset) => (module, offset),
            Code::Anonymous => return unknown(UnknownReason::AnonymousCode, CodeKind::Anonymous),
            Code::ReturnProbe | Code::None => {
                return unknown(UnknownReason::NotMapped, CodeKind::NotMapped);
            }
        };
        let tables = self
            .tables
            .entry(module.id)
            .or_insert_with(|| CfiTables::load(&module.file));
        let context = self
            .context
            .get_or_insert_with(|| Box::new(UnwindContext::new()));
        let mut rule = tables
            .as_ref()
            .and_then(|tables| tables.rule(offset, context));
        if rule.is_none() && is_signal_return(memory, cursor.pc) {
            rule = Some(Rule::SignalFrame);
            tables.get_or_insert_with(CfiTables::default);
        }
        let frame = Frame::Native {
            module: module.id,
            offset,
        };
        NativeCode {
            frame,
            kind: CodeKind::File,
            rule: rule.map(|rule| (module.id, rule)),
        }
    }
}

fn is_signal_return(memory: &impl Memory, pc: u64) -> bool {
    let mut code = [0; SIGNAL_RETURN.len()];
    memory.read(pc, &mut code).is_ok() && code == SIGNAL_RETURN
}
