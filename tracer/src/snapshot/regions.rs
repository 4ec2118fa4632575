//! Mapped regions, by what the target's mappings say of them now.

use std::collections::HashSet;

use super::{Mapped, Sources, Sums};
use crate::accounts::{Accounts, Origin};
use crate::capture::SiteKind;
use crate::regions::{Region, Regions};
use crate::unwind::memory::Memory;

pub(super) fn add<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut Sums,
) {
    let mut counted = HashSet::new();
    for region in accounts
        .regions
        .iter()
        .filter(|region| region.origin.time <= sources.made_before)
    {
        let (committed, reserved) = match sources.mappings {
            Some(mappings) => split(&region, mappings),
            None if region.origin.reserved => (0, region.length()),
            None => (region.length(), 0),
        };
        if committed + reserved == 0 {
            continue;
        }
        // The parts that a mapping was cut into are still one.
        let first_part = counted.insert((region.origin.site, region.origin.time));
        let sum = sums.entry(region.origin.site).or_default();
        sum.add(
            region.origin.time,
            sources.now,
            committed as f64,
            if first_part { 1.0 } else { 0.0 },
        );
        sum.reserved += reserved;
    }
    if let (Some(mappings), Some(baseline)) = (sources.mappings, sources.baseline) {
        add_unseen(accounts, mappings, baseline, sums);
    }
}

/// Bytes of the region that are mapped with and without access now.
fn split(region: &Region<Origin>, mappings: &[Mapped]) -> (u64, u64) {
    let first = mappings.partition_point(|mapped| mapped.end <= region.start);
    let touched = mappings[first..]
        .iter()
        .take_while(|mapped| mapped.start < region.end);
    touched.fold((0, 0), |(committed, reserved), mapped| {
        let length = mapped.end.min(region.end) - mapped.start.max(region.start);
        if mapped.accessible {
            (committed + length, reserved)
        } else {
            (committed, reserved + length)
        }
    })
}

/// Events of mappings were lost: what is mapped now, was not at the attach, and has no known origin.
fn add_unseen<A: Memory>(
    accounts: &mut Accounts<A>,
    mappings: &[Mapped],
    baseline: &[Mapped],
    sums: &mut Sums,
) {
    let mut unseen = Regions::default();
    for mapped in mappings.iter().filter(|mapped| mapped.accessible) {
        unseen.map(mapped.start, mapped.end - mapped.start, ());
    }
    let known = accounts
        .regions
        .iter()
        .map(|region| (region.start, region.length()));
    let old = baseline
        .iter()
        .filter(|old| old.accessible)
        .map(|old| (old.start, old.end - old.start));
    for (start, length) in known.chain(old) {
        unseen.unmap(start, length);
    }
    let site = accounts.lost_site(SiteKind::Mmap, None);
    let sum = sums.entry(site).or_default();
    for region in unseen.iter() {
        sum.bytes += region.length() as f64;
        sum.count += 1.0;
        sum.estimated = true;
    }
}
