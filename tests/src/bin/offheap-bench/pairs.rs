//! A loop of malloc(64) and free, in thread CPU time: unprobed, with empty probes, with offheap, with a peer.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use offheap_tests::{CFlags, Target, Tool, c_program};

use crate::stats::{Goal, Series};
use crate::table::Table;
use crate::{floor, machine, peer};

/// What watches the loop while it is timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watcher {
    Nothing,
    Floor,
    Offheap(&'static [&'static str]),
    Peer,
}

/// One row of the table; `pairs` in a round are some hundred milliseconds of work.
struct Row {
    name: &'static str,
    watcher: Watcher,
    pairs: u32,
}

const ROWS: [Row; 6] = [
    Row {
        name: "unprobed",
        watcher: Watcher::Nothing,
        pairs: 20_000_000,
    },
    Row {
        name: "floor: empty programs at the same places",
        watcher: Watcher::Floor,
        pairs: 200_000,
    },
    Row {
        name: "offheap, default",
        watcher: Watcher::Offheap(&[]),
        pairs: 200_000,
    },
    Row {
        name: "offheap --hooks zlib",
        watcher: Watcher::Offheap(&["--hooks", "zlib"]),
        pairs: 20_000_000,
    },
    Row {
        name: "offheap --sample-bytes 0",
        watcher: Watcher::Offheap(&["--sample-bytes", "0"]),
        pairs: 100_000,
    },
    Row {
        name: "bpftrace as memleak: free+0, ustack per malloc",
        watcher: Watcher::Peer,
        pairs: 20_000,
    },
];

const DEFAULT: usize = 2;
const GOAL: f64 = 1.2;

/// A loop that stays on the last CPU, above `used` bytes of stack.
pub struct Loop(Target);

impl Loop {
    pub fn start(used: usize) -> Loop {
        let mut command = Command::new(c_program("bench_pairs", CFlags::default()));
        command.args([machine::last_cpu().to_string(), used.to_string()]);
        Loop(Target::start(&mut command))
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Nanoseconds per pair.
    pub fn time(&mut self, batches: u32, pairs: u32, pause_us: u32) -> Result<f64> {
        self.0.say(&format!("{batches} {pairs} {pause_us}"));
        let ns: f64 = self
            .0
            .await_value("ns ")
            .parse()
            .context("the loop told no time")?;
        Ok(ns / f64::from(batches) / f64::from(pairs))
    }

    /// Runs `measure` while `watcher` watches; with offheap, also the share of stacks that found the ring full.
    pub fn watched(
        &mut self,
        watcher: Watcher,
        measure: impl FnOnce(&mut Loop) -> Result<f64>,
    ) -> Result<(f64, f64)> {
        match watcher {
            Watcher::Nothing => Ok((measure(self)?, 0.0)),
            Watcher::Floor => {
                let _probes = floor::attach(self.pid())?;
                Ok((measure(self)?, 0.0))
            }
            Watcher::Offheap(flags) => {
                let tool = Tool::capture(self.pid(), flags);
                let value = measure(self)?;
                let capture = tool.finish();
                let lost = capture
                    .losses
                    .get("stack lost: ring full")
                    .copied()
                    .unwrap_or(0);
                let recorded: u64 = capture
                    .functions
                    .iter()
                    .map(|function| function.recorded)
                    .sum();
                // Half of what is recorded are frees.
                Ok((value, lost as f64 / (recorded as f64 / 2.0).max(1.0)))
            }
            Watcher::Peer => {
                let _peer = peer::Peer::attach(self.pid())?;
                measure(self)
            }
            .map(|value| (value, 0.0)),
        }
    }
}

pub fn run(rounds: usize) -> Result<()> {
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| row.watcher != Watcher::Peer || peer::program().is_some())
        .collect();
    let mut target = Loop::start(2048);
    let mut times = vec![Series::default(); rows.len()];
    let mut lost = vec![Series::default(); rows.len()];
    for round in 0..rounds {
        for (index, row) in rows.iter().enumerate() {
            let (ns, share) = target.watched(row.watcher, |target| {
                target.time(1, row.pairs / 20, 0)?;
                target.time(1, row.pairs, 0)
            })?;
            times[index].push(ns);
            lost[index].push(share);
        }
        eprintln!(
            "pairs: round {} of {rounds}, load {}",
            round + 1,
            machine::load()
        );
    }
    ensure!(times[0].summary().median > 0.0, "the loop took no time");
    print(&rows, &times, &lost);
    Ok(())
}

fn print(rows: &[&Row], times: &[Series], lost: &[Series]) {
    let mut table = Table::new([
        "malloc(64) + free",
        "ns per pair",
        "× floor",
        "goal",
        "stacks lost",
    ]);
    for (index, row) in rows.iter().enumerate() {
        let ratio = times[index].over(&times[1]).summary();
        let goal = match index {
            DEFAULT => format!("≤ {GOAL}: {}", Goal(ratio.median <= GOAL)),
            _ => String::new(),
        };
        let share = lost[index].summary().median;
        table.row([
            row.name.to_owned(),
            times[index].summary().range(if index == 0 { 1 } else { 0 }),
            ratio.range(3),
            goal,
            if share > 0.0 {
                format!("{:.0} %", share * 100.0)
            } else {
                String::new()
            },
        ]);
    }
    table.print("A malloc and a free");
    if peer::program().is_none() {
        println!("bpftrace is not installed: no peer was measured.");
    }
}
