//! Pages that became resident, sampled as they were touched first.

use super::{Sources, Sums};
use crate::accounts::Accounts;
use crate::unwind::memory::Memory;

/// A page counts while it takes memory, for those that were touched between two samples.
pub(super) fn add<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut Sums,
) {
    let held = |address: &u64| match sources.pages {
        Some(pages) => pages.is_held(*address).unwrap_or(true),
        // The target has ended: this is what it was told to hold last.
        None => true,
    };
    for (_, page) in accounts.pages.iter().filter(|(address, _)| held(address)) {
        if page.time <= sources.made_before {
            let sum = sums.entry(page.site).or_default();
            sum.add(page.time, sources.now, page.bytes as f64, page.weight);
        }
    }
}
