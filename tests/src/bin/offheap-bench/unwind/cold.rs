//! From nothing to the first stack, to the tables of all modules, to all stacks.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use offheap::target::modules::ModuleTable;
use offheap::unwind::{Registers, StackCapture, Unwinder};

use super::cost::{forget_peak, resident_mib, resident_mib_of};
use super::reads::Counting;
use super::{AT_ONCE, Bench, Tids};
use crate::stats::{Goal, Series};
use crate::table::Table;

const TIME_GOAL_MS: f64 = 300.0;
const MEMORY_GOAL_MB: f64 = 100.0;

/// What it takes, each from the beginning on: milliseconds, then MiB.
#[derive(Default)]
struct Results {
    mapped: Series,
    layout: Series,
    first: Series,
    tables: Series,
    peak: Series,
    kept: Series,
}

pub fn run(bench: &Bench, rounds: usize) -> Result<()> {
    let mut results = Results::default();
    for _ in 0..rounds {
        results.take(bench)?;
    }
    results.print(resident_mib_of(bench.target.pid()).0);
    Ok(())
}

impl Results {
    fn take(&mut self, bench: &Bench) -> Result<()> {
        forget_peak();
        let (before, _) = resident_mib();
        let begin = Instant::now();
        let ms = || begin.elapsed().as_secs_f64() * 1000.0;
        let memory = Counting::open(bench.target.pid())?;
        let modules = bench.modules()?;
        self.mapped.push(ms());
        let tids = Tids::new();
        let scene = bench.scene(&modules, &tids);
        let mut books = super::books(&memory, &modules);
        self.layout.push(ms());
        let record = bench.captures.records.first().cloned();
        black_box(bench.walk(&mut books, scene, record));
        self.first.push(ms());
        read_tables(&mut books.unwinder, &modules);
        self.tables.push(ms());
        for records in bench.captures.records.chunks(AT_ONCE) {
            black_box(bench.walk(&mut books, scene, records.iter().cloned()));
        }
        let (now, peak) = resident_mib();
        self.kept.push(now - before);
        self.peak.push(peak - before);
        Ok(())
    }

    fn print(&self, target: f64) {
        let mut table = Table::new(["cold", "", "goal"]);
        let [tables, peak] = [&self.tables, &self.peak].map(Series::summary);
        let in_time = format!(
            "≤ {TIME_GOAL_MS} ms: {}",
            Goal(tables.median <= TIME_GOAL_MS)
        );
        let is_small = peak.max * 1.048576 <= MEMORY_GOAL_MB;
        let is_small = format!("≤ {MEMORY_GOAL_MB} MB: {}", Goal(is_small));
        let mut row = |name: &str, series: &Series, goal: String| {
            table.row([name.to_owned(), series.summary().range(1), goal]);
        };
        row(
            "mappings, files and build ids, ms",
            &self.mapped,
            String::new(),
        );
        row("… the JVM's layout, ms", &self.layout, String::new());
        row("… the first stack, ms", &self.first, String::new());
        row(
            "… the unwind tables of all modules, ms",
            &self.tables,
            in_time,
        );
        row(
            "memory for all that and all stacks, peak, MiB",
            &self.peak,
            is_small,
        );
        row(
            "memory for all that and all stacks, kept, MiB",
            &self.kept,
            String::new(),
        );
        table.print(&format!(
            "From nothing to stacks, in a JVM of {target:.0} MiB resident"
        ));
    }
}

/// A walk reads the tables of the module that it begins in.
fn read_tables<M: offheap::unwind::memory::Memory>(
    unwinder: &mut Unwinder<M>,
    modules: &ModuleTable,
) {
    for module in &modules.modules {
        for range in module.ranges.iter().filter(|range| range.executable) {
            black_box(unwinder.unwind(modules, &at(range.start)));
        }
    }
}

/// A capture that ends at once: its only frame is at `ip`.
fn at(ip: u64) -> StackCapture<'static> {
    StackCapture {
        registers: Registers {
            ip,
            ..Registers::default()
        },
        ip_is_return_address: false,
        bytes: &[],
        missing: 0,
        taken: Instant::now(),
        truncated: false,
        tid: 0,
        replaced: &[],
        anchor: None,
    }
}
