//! Very many outstanding blocks: whether each is there, what it takes, and how long a snapshot of all takes.
//!
//! The target allocates as fast as it can, so that stacks may be lost; bytes and blocks are compared to the last digit. A
//! snapshot is timed from the signal that asks for one until its bundle is on the disk.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use offheap::capture::{Capture, SiteKind};
use offheap_tests::{CFlags, DEADLINE, Target, Tool, c_program, sum};

use crate::machine;
use crate::stats::{Goal, Series};
use crate::table::Table;

const MILLION: u64 = 1_000_000;
/// Blocks, and how many the kernel's map is to hold: none is the default.
const ROWS: [(u64, Option<u64>); 3] = [
    (MILLION, None),
    (10 * MILLION, None),
    (10 * MILLION, Some(10 * MILLION + 1)),
];
const SNAPSHOTS: usize = 3;
/// Seconds, for a million.
const GOAL: f64 = 1.0;

#[derive(Default)]
struct Results {
    /// Bytes of the kernel for each block that its map holds.
    kernel: Series,
    rss: Series,
    seconds: Series,
    cpu: Series,
    kept: Series,
    lost: Series,
    is_exact: bool,
}

pub fn run(rounds: usize) -> Result<()> {
    let mut table = Table::new([
        "outstanding blocks",
        "--max-outstanding",
        "exact to the byte",
        "stacks lost",
        "kept by offheap",
        "kernel bytes per block in its map",
        "offheap's peak RSS, MiB",
        "a snapshot, s",
        "its CPU, s",
        "goal",
    ]);
    for (count, most) in ROWS {
        let mut results = Results {
            is_exact: true,
            ..Results::default()
        };
        for round in 0..rounds {
            results.measure(count, most)?;
            let (round, load) = (round + 1, machine::load());
            eprintln!("scale: {count} blocks, round {round} of {rounds}, load {load}");
        }
        let cells = results.cells(count, most);
        eprintln!("scale: {}", cells.join(" | "));
        table.row(cells);
    }
    table.print("Very many outstanding blocks");
    Ok(())
}

impl Results {
    fn measure(&mut self, count: u64, most: Option<u64>) -> Result<()> {
        let mut command = Command::new(c_program("many", CFlags::default()));
        let mut target = Target::start(command.arg(count.to_string()));
        let most = most.map(|most| most.to_string());
        let mut flags = vec![
            "--hooks",
            "malloc",
            "--sample-bytes",
            "0",
            "--ring-bytes",
            "64m",
        ];
        if let Some(most) = &most {
            flags.extend(["--max-outstanding", most]);
        }
        let tool = Tool::capture(target.pid(), &flags);
        target.say("go");
        for _ in 0..count / MILLION {
            target.await_value("made ");
        }
        let truths = target.await_word("done");
        for number in 1..=SNAPSHOTS {
            let (wall, cpu) = snapshot(&tool, number)?;
            self.seconds.push(wall);
            self.cpu.push(cpu);
        }
        let bytes = live_bytes(tool.pid())?;
        let capture = tool.finish();
        let truth = truths.first().context("the target told no truth")?;
        let got = sum(&capture
            .sites
            .iter()
            .filter(|site| site.kind == SiteKind::Malloc)
            .collect::<Vec<_>>());
        self.is_exact &= Some(got.outstanding_bytes) == truth.outstanding_bytes
            && Some(got.outstanding_count) == truth.outstanding_count;
        self.push(&capture, count, bytes)
    }

    fn push(&mut self, capture: &Capture, count: u64, bytes: u64) -> Result<()> {
        let live = capture
            .tracer
            .high_water
            .get("LIVE")
            .context("no map is called LIVE")?;
        let loss = |name: &str| capture.losses.get(name).copied().unwrap_or(0) as f64;
        self.kernel.push(bytes as f64 / live.used as f64);
        self.rss
            .push(capture.tracer.max_rss as f64 / f64::from(1 << 20));
        self.kept
            .push(100.0 * loss("kept by the tracer: map full") / count as f64);
        self.lost
            .push(100.0 * loss("stack lost: ring full") / count as f64);
        Ok(())
    }

    fn cells(&self, count: u64, most: Option<u64>) -> [String; 10] {
        let seconds = self.seconds.summary();
        [
            count.to_string(),
            most.map_or("default".to_owned(), |most| most.to_string()),
            if self.is_exact { "yes" } else { "**no**" }.to_owned(),
            format!("{} %", self.lost.summary().range(1)),
            format!("{} %", self.kept.summary().range(1)),
            self.kernel.summary().range(1),
            self.rss.summary().range(0),
            seconds.range(2),
            self.cpu.summary().range(2),
            match count {
                MILLION => format!("< {GOAL} s: {}", Goal(seconds.median < GOAL)),
                _ => String::new(),
            },
        ]
    }
}

/// Seconds, and CPU seconds, of the `number`th snapshot.
fn snapshot(tool: &Tool, number: usize) -> Result<(f64, f64)> {
    let (start, before) = (Instant::now(), machine::cpu_seconds(tool.pid())?);
    tool.signal(libc::SIGUSR1);
    let written = || {
        tool.stderr()
            .iter()
            .filter(|line| line.contains("written: "))
            .count()
    };
    while written() < number {
        ensure!(
            start.elapsed() < DEADLINE,
            "no snapshot came: {:?}",
            tool.stderr()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let wall = start.elapsed().as_secs_f64();
    Ok((wall, machine::cpu_seconds(tool.pid())? - before))
}

/// What the kernel says that the map of outstanding blocks takes (`bpf_map_show_fdinfo`): the biggest hash map whose values are
/// those of a block.
fn live_bytes(pid: u32) -> Result<u64> {
    let mut most = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let is_live = field("map_type:") == Some(1) && field("value_size:") == Some(24);
        if is_live {
            most = most.max(field("memlock:").unwrap_or(0));
        }
    }
    ensure!(most > 0, "the map of outstanding blocks is not found");
    Ok(most)
}
