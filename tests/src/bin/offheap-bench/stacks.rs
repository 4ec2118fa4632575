//! What one recorded stack costs the target, by the stack's size: exact mode minus the floor.

use anyhow::Result;

use crate::machine;
use crate::pairs::{Loop, Watcher};
use crate::stats::Series;
use crate::table::Table;

/// Bytes of stack in use when malloc is called, give or take a frame.
const USED: [usize; 4] = [3 << 10, 7 << 10, 15 << 10, 31 << 10];

// Short bursts with room to drain the ring between them, so that every stack is copied and none is lost.
const BATCHES: u32 = 40;
const PAIRS: u32 = 50;
const PAUSE_US: u32 = 25_000;
const EXACT: Watcher = Watcher::Offheap(&["--hooks", "malloc", "--sample-bytes", "0"]);

pub fn run(rounds: usize) -> Result<()> {
    let mut loops = USED.map(|used| (used, Loop::start(used), [const { Series(Vec::new()) }; 3]));
    for round in 0..rounds {
        for (_, target, series) in &mut loops {
            let burst = |target: &mut Loop| {
                target.time(2, PAIRS, PAUSE_US)?;
                target.time(BATCHES, PAIRS, PAUSE_US)
            };
            let (floor, _) = target.watched(Watcher::Floor, burst)?;
            let (exact, lost) = target.watched(EXACT, burst)?;
            for (series, value) in series.iter_mut().zip([floor, exact, lost]) {
                series.push(value);
            }
        }
        eprintln!(
            "stacks: round {} of {rounds}, load {}",
            round + 1,
            machine::load()
        );
    }
    let mut table = Table::new([
        "stack in use",
        "floor, ns per pair",
        "exact, ns per pair",
        "one recorded stack, µs",
        "lost",
    ]);
    for (used, _, [floor, exact, lost]) in &loops {
        let cost = Series(exact.minus(floor).0.iter().map(|ns| ns / 1000.0).collect());
        table.row([
            format!("{} KiB", used.div_ceil(4096) * 4),
            floor.summary().range(0),
            exact.summary().range(0),
            cost.summary().range(1),
            format!("{:.0} %", lost.summary().median * 100.0),
        ]);
    }
    table.print("One recorded stack, and its end");
    Ok(())
}
