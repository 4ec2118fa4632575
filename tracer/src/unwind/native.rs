//! Frames of mapped files: which file an address belongs to, and the rule to leave it by.

use gimli::UnwindContext;

use crate::fast_map::FastMap;
use crate::stack::{Frame, ModuleId, StackEnd, UnknownReason};
use crate::target::modules::{Code, ModuleTable};

use super::cfi::{CfiTables, Rule};
use super::cursor::{CapturedStack, Cursor};
use super::memory::Memory;
use super::rule::{self, Step};

/// Addresses whose rule is remembered; a JVM's stacks have some ten thousand. When full it starts anew.
const MAX_CACHED: usize = 1 << 16;
/// Rules that addresses share: compilers make frames in few ways. Further ones are kept for each address.
const MAX_SHARED: usize = 512;

/// `mov $__NR_rt_sigreturn, %rax; syscall`: the code that a signal handler returns to, in any libc. musl's has no CFI.
#[cfg(target_arch = "x86_64")]
const SIGNAL_RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// `mov x8, #__NR_rt_sigreturn; svc #0`.
#[cfg(target_arch = "aarch64")]
const SIGNAL_RETURN: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

/// What is known about an address outside of the JVM's code cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeCode {
    /// Code of a file, and how to leave its frame, if the file states that.
    File {
        module: ModuleId,
        offset: u64,
        rule: Option<RuleId>,
    },
    Anonymous,
    NotMapped,
}

/// Index of a rule in the unwinder that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u32);

impl NativeCode {
    /// The frame of a look-up address.
    pub fn frame(self, address: u64) -> Frame {
        let reason = match self {
            NativeCode::File { module, offset, .. } => return Frame::Native { module, offset },
            NativeCode::Anonymous => UnknownReason::AnonymousCode,
            NativeCode::NotMapped => UnknownReason::NotMapped,
        };
        Frame::Unknown { address, reason }
    }
}

/// Unwind tables of the files that stacks have been seen in, and rules that were found.
#[derive(Default)]
pub struct NativeUnwinder {
    tables: FastMap<ModuleId, Option<CfiTables>>,
    cache: FastMap<u64, NativeCode>,
    rules: Vec<Rule>,
    context: Option<Box<UnwindContext<usize>>>,
}

impl NativeUnwinder {
    /// Forgets what depends on where files are mapped.
    pub fn modules_changed(&mut self) {
        self.cache.clear();
        self.rules.clear();
    }

    /// What is at `cursor`.
    pub fn code(
        &mut self,
        modules: &ModuleTable,
        memory: &impl Memory,
        cursor: &Cursor,
    ) -> NativeCode {
        let address = cursor.lookup_address();
        if let Some(&known) = self.cache.get(&address) {
            return known;
        }
        if self.cache.len() >= MAX_CACHED {
            self.modules_changed();
        }
        let found = self.find(modules, memory, cursor);
        self.cache.insert(address, found);
        found
    }

    /// Leaves the frame at `now`.
    ///
    /// # Errors
    /// `NoUnwindInfo` where the file states no rule for this address; else those of [`rule::apply`].
    pub fn step(
        &self,
        code: NativeCode,
        now: &Cursor,
        stack: &CapturedStack<'_>,
    ) -> Result<Step, StackEnd> {
        let (module, rule) = self.rule(code).ok_or(StackEnd::NoUnwindInfo)?;
        let tables = self
            .tables
            .get(&module)
            .and_then(Option::as_ref)
            .ok_or(StackEnd::NoUnwindInfo)?;
        rule::apply(rule, tables, now, stack)
    }

    fn rule(&self, code: NativeCode) -> Option<(ModuleId, &Rule)> {
        match code {
            NativeCode::File {
                module,
                rule: Some(RuleId(index)),
                ..
            } => Some((module, self.rules.get(index as usize)?)),
            _ => None,
        }
    }

    /// The id of `rule`.
    fn share(&mut self, rule: Rule) -> RuleId {
        let mut shared = self.rules.iter().take(MAX_SHARED);
        let known = shared.position(|known| *known == rule);
        let index = known.unwrap_or_else(|| {
            self.rules.push(rule);
            self.rules.len() - 1
        });
        RuleId(index as u32)
    }

    /// Every address that was looked up so far.
    #[cfg(test)]
    pub fn known(&self) -> Vec<(u64, Frame, Option<Rule>)> {
        let rule = |code| self.rule(code).map(|(_, rule)| *rule);
        self.cache
            .iter()
            .map(|(&address, &code)| (address, code.frame(address), rule(code)))
            .collect()
    }

    /// An unwinder that has looked up `known` before, and no more than that.
    pub fn from_known(known: Vec<(u64, Frame, Option<Rule>)>) -> Self {
        let mut unwinder = NativeUnwinder::default();
        for (address, frame, rule) in known {
            let code = match frame {
                Frame::Native { module, offset } => {
                    unwinder.tables.insert(module, Some(CfiTables::default()));
                    NativeCode::File {
                        module,
                        offset,
                        rule: rule.map(|rule| unwinder.share(rule)),
                    }
                }
                _ => NativeCode::NotMapped,
            };
            unwinder.cache.insert(address, code);
        }
        unwinder
    }

    fn find(&mut self, modules: &ModuleTable, memory: &impl Memory, cursor: &Cursor) -> NativeCode {
        let address = cursor.lookup_address();
        let (module, offset) = match modules.code(address) {
            Code::Module(module, offset) => (module, offset),
            Code::Anonymous => return NativeCode::Anonymous,
            Code::ReturnProbe | Code::None => return NativeCode::NotMapped,
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
        // A signal handler returns to the beginning of a function that nothing calls.
        let is_trampoline = matches!(rule, Some(Rule::SignalFrame));
        let back = cursor.pc.wrapping_sub(address);
        NativeCode::File {
            module: module.id,
            offset: offset.wrapping_add(if is_trampoline { back } else { 0 }),
            rule: rule.map(|rule| self.share(rule)),
        }
    }
}

fn is_signal_return(memory: &impl Memory, pc: u64) -> bool {
    let mut code = [0; SIGNAL_RETURN.len()];
    memory.read(pc, &mut code).is_ok() && code == SIGNAL_RETURN
}
