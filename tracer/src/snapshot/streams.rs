//! Open streams, with what they hold.

use super::{Sources, Sums};
use crate::accounts::{Accounts, Forgotten, Parameters, kind_of};
use crate::events::AllocationKey;
use crate::fast_map::FastMap;
use crate::functions::Direction;
use crate::ledger::{SiteId, Space};
use crate::streams::{self, Held};
use crate::unwind::memory::Memory;

pub(super) fn add<A: Memory, M: Memory>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
    sums: &mut Sums,
) {
    let open = open_streams(accounts, sources);
    // Ten million blocks take a second to arrange, which is only worth it where a stream may hold some of them.
    let wanted = !open.is_empty() && sources.malloc && accounts.rules.intervals.is_exact();
    let sizes: FastMap<u64, u64> = match wanted {
        true => sources
            .live
            .blocks
            .iter()
            .map(|(address, block)| (*address, block.size))
            .collect(),
        false => FastMap::default(),
    };
    for (address, stream) in open {
        // An Init that failed has left no state behind.
        if sources
            .memory
            .and_then(|memory| streams::is_open(address, memory))
            == Some(false)
        {
            continue;
        }
        let found = sources.memory.and_then(|memory| {
            streams::found(address, stream.parameters.direction, memory, |a| {
                sizes.get(&a).copied()
            })
        });
        add_stream(&stream, found, sources, sums);
    }
    for orphan in &accounts.orphans.each {
        let stream = OpenStream {
            site: orphan.site,
            time: orphan.time,
            parameters: orphan.parameters,
        };
        add_stream(&stream, None, sources, sums);
    }
    for (&site, forgotten) in &accounts.orphans.older {
        add_forgotten(site, forgotten, sources, sums);
    }
}

/// As old as the youngest of them, where the report asks for what is older than something.
fn add_forgotten<M>(site: SiteId, older: &Forgotten, sources: &Sources<'_, M>, sums: &mut Sums) {
    if older.newest > sources.made_before {
        return;
    }
    let sum = sums.entry(site).or_default();
    sum.add(
        older.oldest,
        sources.now,
        older.bytes as f64,
        older.count as f64,
    );
    // What one of them is in a sample, they are all in the books.
    sum.recorded_bytes += older.bytes - older.bytes / older.count.max(1);
    sum.recorded_count += older.count.saturating_sub(1);
    sum.newest = sum.newest.max(Some(older.newest));
    sum.blocks += older.blocks;
    sum.estimated |= older.estimated;
}

struct OpenStream {
    site: SiteId,
    time: u64,
    parameters: Parameters,
}

/// Streams that the kernel tracks, and those that it had no room for.
fn open_streams<A: Memory, M>(
    accounts: &mut Accounts<A>,
    sources: &Sources<'_, M>,
) -> Vec<(u64, OpenStream)> {
    let mut open = Vec::with_capacity(sources.live.streams.len());
    for &(address, stream) in &sources.live.streams {
        let key = AllocationKey {
            address,
            time: stream.time,
        };
        let point = sources.points.get(stream.point as usize);
        let direction = point
            .and_then(|point| point.function.direction)
            .unwrap_or(Direction::Deflate);
        let site = match accounts.ledger.site_of(key) {
            Some(site) => site,
            None => accounts.lost_site(kind_of(direction), point),
        };
        let (window_bits, mem_level) = (stream.window_bits, stream.mem_level);
        let parameters = Parameters {
            direction,
            window_bits,
            mem_level,
        };
        open.push((
            address,
            OpenStream {
                site,
                time: stream.time,
                parameters,
            },
        ));
    }
    let spilled = accounts
        .ledger
        .spilled
        .iter()
        .filter(|((space, _), _)| *space == Space::Streams);
    for ((_, address), stream) in spilled {
        let key = AllocationKey {
            address: *address,
            time: stream.time,
        };
        if let Some(&parameters) = accounts.parameters.get(&key) {
            open.push((
                *address,
                OpenStream {
                    site: stream.site,
                    time: stream.time,
                    parameters,
                },
            ));
        }
    }
    open
}

fn add_stream<M>(
    stream: &OpenStream,
    found: Option<Held>,
    sources: &Sources<'_, M>,
    sums: &mut Sums,
) {
    if stream.time > sources.made_before {
        return;
    }
    let Parameters {
        direction,
        window_bits,
        mem_level,
    } = stream.parameters;
    let held = found.unwrap_or_else(|| streams::computed(direction, window_bits, mem_level));
    let sum = sums.entry(stream.site).or_default();
    sum.add(stream.time, sources.now, held.bytes as f64, 1.0);
    sum.blocks += held.blocks;
    sum.estimated |= held.estimated;
}
