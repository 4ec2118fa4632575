//! Blocks of the malloc family.

use super::{Sources, Sums};
use crate::accounts::Accounts;
use crate::capture::SiteKind;
use crate::events::AllocationKey;
use crate::ledger::{SiteId, Space, Weight};
use crate::unwind::memory::Memory;

pub(super) fn add<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut Sums,
) {
    for &(address, block) in &sources.live.blocks {
        let known = accounts.ledger.site_of(AllocationKey {
            address,
            time: block.time,
        });
        let site = known.unwrap_or_else(|| {
            accounts.lost_site(SiteKind::Malloc, sources.points.get(block.point as usize))
        });
        let weight = accounts.rules.intervals.weight(block.size, block.level);
        add_block(site, block.time, block.size, weight, sources, sums);
    }
    let spilled = accounts
        .ledger
        .spilled
        .iter()
        .filter(|((space, _), _)| *space == Space::Blocks);
    for (_, block) in spilled {
        add_block(
            block.site,
            block.time,
            block.size,
            block.weight,
            sources,
            sums,
        );
    }
}

fn add_block<M>(
    site: SiteId,
    time: u64,
    size: u64,
    Weight(weight): Weight,
    sources: &Sources<'_, M>,
    sums: &mut Sums,
) {
    if time <= sources.made_before {
        sums.entry(site)
            .or_default()
            .add(time, sources.now, size as f64 * weight, weight);
    }
}
