//! Return addresses that the kernel's return probes have replaced on the stack.

use crate::target::modules::ModuleTable;

use super::ReplacedReturn;

/// Puts the original return addresses back while a walk passes them.
pub struct ReturnProbes<'a> {
    modules: &'a ModuleTable,
    replaced: &'a [ReplacedReturn],
    /// How many a walk has passed.
    passed: usize,
}

impl<'a> ReturnProbes<'a> {
    pub fn new(modules: &'a ModuleTable, replaced: &'a [ReplacedReturn]) -> Self {
        ReturnProbes {
            modules,
            replaced,
            passed: 0,
        }
    }

    /// `address`, read from `slot`, or what stood there before a probe replaced it; `None` where that is not known.
    pub fn original(&mut self, address: u64, slot: Option<u64>) -> Option<u64> {
        if !self.modules.is_return_probe(address) {
            return Some(address);
        }
        let found = self.by_slot(slot).or_else(|| self.by_order());
        self.passed += 1;
        found
    }

    /// A function that jumps to another probed function instead of calling it leaves one slot to two probes: the
    /// second has recorded the trampoline as the original.
    fn by_slot(&self, slot: Option<u64>) -> Option<u64> {
        let slot = slot?;
        let same = self
            .replaced
            .iter()
            .filter(|replaced| replaced.slot == slot);
        same.map(|replaced| replaced.original)
            .find(|&original| !self.modules.is_return_probe(original))
    }

    /// Where the return address was in a register when the probe replaced it (aarch64) it was stored to a slot that
    /// the probe did not know; the order of the pending probes is that of their frames.
    fn by_order(&self) -> Option<u64> {
        if cfg!(target_arch = "x86_64") {
            return None;
        }
        let mut pending: Vec<_> = self.replaced.iter().collect();
        pending.sort_by_key(|replaced| replaced.slot);
        let original = pending.get(self.passed)?.original;
        (!self.modules.is_return_probe(original)).then_some(original)
    }
}
