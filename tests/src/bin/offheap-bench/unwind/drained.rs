//! Stacks as they come: what was read of the JVM before they were taken has to be looked at again.

use bytes::Bytes;
use offheap::accounts::Scene;
use offheap::clock;
use offheap::events;
use tracer_common::event::Header;

use super::cost::cpu_ns;
use super::reads::{Counting, Reads};
use super::{AT_ONCE, Bench, Books};
use crate::stats::Series;
use crate::table::Table;

/// Passes over all stacks.
const ROUNDS: usize = 9;
/// How many stacks wait in the ring when it is drained, a hundred times a second.
const DRAINS: [(usize, &str); 3] = [
    (1000, "100,000 stacks/s: 1,000 in a drain"),
    (100, "10,000 stacks/s: 100 in a drain"),
    (1, "each drained alone"),
];

/// What taking one drain after the other came to.
#[derive(Default)]
struct Drained {
    /// Microseconds of CPU time per stack.
    cost: Series,
    /// Batches that made no remote read, one, and more.
    batches: [u64; 3],
    reads: Reads,
}

/// Takes stacks from records to the accounts, as many at a time as wait in a drain.
pub fn run(bench: &Bench, memory: &Counting, books: &mut Books<'_>, scene: Scene<'_>, name: &str) {
    let mut table = Table::new([
        "from the ring to the accounts",
        "µs of CPU per stack",
        "stacks/s of one core",
        "batches without a read",
        "with one",
        "with more",
        "pieces per read",
        "KiB per read",
    ]);
    for (per_drain, rate) in DRAINS {
        let mut drained = Drained::default();
        for _ in 0..ROUNDS {
            for drain in bench.captures.records.chunks(per_drain) {
                drained.take(bench, memory, books, scene, drain);
            }
        }
        table.row(drained.cells(rate));
    }
    table.print(&format!(
        "Walking and booking while the JVM goes on: {name}"
    ));
}

impl Drained {
    fn take(
        &mut self,
        bench: &Bench,
        memory: &Counting,
        books: &mut Books<'_>,
        scene: Scene<'_>,
        drain: &[Bytes],
    ) {
        let young: Vec<Bytes> = drain.iter().map(taken_now).collect();
        let begin = cpu_ns();
        for batch in young.chunks(AT_ONCE) {
            let before = memory.reads();
            let copied = batch.iter().map(|record| events::copy_used(record));
            for (event, stack) in bench.walk(books, scene, copied) {
                books.book(event, Some(stack.into()), scene);
            }
            let reads = memory.reads().since(before);
            self.batches[reads.calls.min(2) as usize] += 1;
            self.reads = self.reads.and(reads);
        }
        let us = (cpu_ns() - begin) as f64 / 1000.0;
        self.cost.push(us / young.len() as f64);
    }

    fn cells(&self, name: &str) -> [String; 8] {
        let cost = self.cost.summary();
        let per_read = |what: u64| what as f64 / self.reads.calls.max(1) as f64;
        [
            name.to_owned(),
            cost.range(2),
            format!("{:.0}", 1e6 / cost.median),
            self.batches[0].to_string(),
            self.batches[1].to_string(),
            self.batches[2].to_string(),
            format!("{:.1}", per_read(self.reads.pieces)),
            format!("{:.1}", per_read(self.reads.bytes) / 1024.0),
        ]
    }
}

/// The record as if its allocation had been made at this moment.
fn taken_now(record: &Bytes) -> Bytes {
    let mut bytes = record.to_vec();
    let at = std::mem::offset_of!(Header, time);
    bytes[at..at + 8].copy_from_slice(&clock::monotonic().to_ne_bytes());
    bytes.into()
}
