//! Tells the programs where threads' stacks end, so that no more is copied than is used.

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};

/// Stack ends by thread, as the programs have them.
pub struct StackTops(pub HashMap<MapData, u32, u64>);

impl StackTops {
    /// The stack of `tid` ends at `top`.
    pub fn set(&mut self, tid: u32, top: u64) -> Result<()> {
        self.0
            .insert(tid, top, 0)
            .context("cannot write the stack ends")
    }

    /// The end of `tid`'s stack is not known any more.
    pub fn forget(&mut self, tid: u32) {
        // It may have made room for another thread's already.
        let _ = self.0.remove(&tid);
    }
}
