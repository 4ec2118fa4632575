//! Open objects of pairs of functions, with what opening them took.

use tracer_common::live::LiveObject;

use super::{Sources, Sums};
use crate::accounts::Accounts;
use crate::capture::SiteKind;
use crate::events::AllocationKey;
use crate::ledger::{Intervals, SiteId, Space};
use crate::unwind::memory::Memory;

pub(super) fn add<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut Sums,
) {
    let blocks = Blocks::new(sources, &accounts.rules.intervals);
    for &(name, object) in &sources.live.objects {
        let known = accounts.ledger.site_of(AllocationKey {
            address: name.object,
            time: object.time,
        });
        let site = known.unwrap_or_else(|| {
            accounts.lost_site(SiteKind::Pair, sources.points.get(object.point as usize))
        });
        add_object(site, object.time, blocks.within(&object), sources, sums);
    }
    let spilled = accounts.ledger.spilled.iter();
    let spilled = spilled.filter(|((space, _), _)| matches!(space, Space::Objects(_)));
    for (_, object) in spilled {
        add_object(object.site, object.time, Held::default(), sources, sums);
    }
}

fn add_object<M>(site: SiteId, time: u64, held: Held, sources: &Sources<'_, M>, sums: &mut Sums) {
    if time > sources.made_before {
        return;
    }
    let sum = sums.entry(site).or_default();
    sum.add(time, sources.now, held.bytes, 1.0);
    sum.blocks += held.blocks.round() as u64;
    sum.estimated |= held.estimated;
}

/// What an object holds of what was allocated while it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Held {
    bytes: f64,
    blocks: f64,
    estimated: bool,
}

/// One outstanding block, as far as it matters here.
#[derive(Clone, Copy)]
struct Block {
    tid: u32,
    time: u64,
    bytes: f64,
    weight: f64,
}

/// Outstanding blocks by thread and time. A block belongs to an object if its allocation returned on the object's thread
/// between the entry and the return of the opening call.
struct Blocks {
    sorted: Vec<Block>,
    estimated: bool,
}

impl Blocks {
    fn new<M>(sources: &Sources<'_, M>, intervals: &Intervals) -> Blocks {
        let used = sources.malloc && sources.live.objects.iter().any(|(_, o)| o.began != 0);
        let blocks = if used { &sources.live.blocks[..] } else { &[] };
        let mut sorted: Vec<Block> = blocks
            .iter()
            .map(|(_, block)| {
                let weight = intervals.weight(block.size, block.level).0;
                Block {
                    tid: block.tid,
                    time: block.time,
                    bytes: block.size as f64 * weight,
                    weight,
                }
            })
            .collect();
        sorted.sort_unstable_by_key(|block| (block.tid, block.time));
        Blocks {
            sorted,
            estimated: !intervals.is_exact(),
        }
    }

    fn within(&self, object: &LiveObject) -> Held {
        if object.began == 0 {
            return Held::default();
        }
        let place = |time| {
            let before = |block: &Block| (block.tid, block.time) < (object.tid, time);
            self.sorted.partition_point(before)
        };
        let (first, last) = (place(object.began), place(object.time.saturating_add(1)));
        let blocks = self.sorted.get(first..last).unwrap_or_default();
        blocks.iter().fold(Held::default(), |held, block| Held {
            bytes: held.bytes + block.bytes,
            blocks: held.blocks + block.weight,
            estimated: self.estimated,
        })
    }
}
