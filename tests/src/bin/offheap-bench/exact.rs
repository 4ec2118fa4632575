//! Exact mode at speed: how many allocations per second are recorded with their stacks, and what that costs offheap.
//!
//! The target makes what is due each millisecond and says when it was done, so that the rate in the table is what was
//! reached and not what was asked for. Outstanding bytes and blocks are compared with its own to the last digit.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use offheap::capture::{Capture, SiteKind};
use offheap_tests::{CFlags, Sum, Target, Tool, Truth, c_program, sites_through, sum};

use crate::machine;
use crate::stats::Series;
use crate::table::Table;

const THREADS: u32 = 2;
/// Frames of each stack, besides those of the thread's root.
const FRAMES: u32 = 64;
const DIFFERENT: u32 = 1024;
/// The stacks' size in KiB, and the bytes of each frame that make it so.
const STACKS: [(u32, u32); 2] = [(8, 16), (16, 160)];
const RATES: [u32; 5] = [10_000, 25_000, 50_000, 75_000, 100_000];
/// The default of exact mode.
const RING: &str = "64m";
/// What is only done once, such as naming the frames' functions, is over by then.
const WARM_UP_MS: u32 = 1000;
const MEASURED_MS: u32 = 4000;

/// What is measured of one rate.
#[derive(Default)]
struct Results {
    /// Allocations per second.
    made: Series,
    /// Percent of all allocations of the run.
    lost: Series,
    incomplete: Series,
    /// Percent of one CPU.
    cpu: Series,
    /// Microseconds of CPU per allocation.
    user: Series,
    kernel: Series,
    target: Series,
    rss: Series,
    is_exact: bool,
}

pub fn run(rounds: usize) -> Result<()> {
    let mut table = Table::new([
        "stack, asked for /s",
        "made /s",
        "stacks lost",
        "incomplete",
        "outstanding exact",
        "offheap's CPU, %",
        "its µs per allocation: user",
        "kernel",
        "target's CPU, µs per allocation",
        "peak RSS, MiB",
    ]);
    for (kib, frame) in STACKS {
        for rate in RATES {
            let mut results = Results {
                is_exact: true,
                ..Results::default()
            };
            for round in 0..rounds {
                results.measure(frame, rate)?;
                let round = round + 1;
                let load = machine::load();
                eprintln!("exact: {kib} KiB, {rate}/s, round {round} of {rounds}, load {load}");
            }
            table.row(results.cells(&format!("{kib} KiB, {rate}")));
        }
    }
    table.print("Exact mode at speed");
    Ok(())
}

impl Results {
    fn measure(&mut self, frame: u32, rate: u32) -> Result<()> {
        let mut command = Command::new(c_program("bench_exact", CFlags::default()));
        let arguments = [THREADS, FRAMES, frame, DIFFERENT].map(|number| number.to_string());
        let mut target = Target::start(command.args(arguments));
        // The ring that users get, and not the tests'.
        let flags = ["--hooks", "malloc", "--sample-bytes", "0", "--ring-bytes"];
        let tool = Tool::capture(target.pid(), &[&flags[..], &[RING]].concat());
        work(&mut target, rate, WARM_UP_MS)?;
        let before = (machine::usage(tool.pid())?, machine::usage(target.pid())?);
        let (made, seconds) = work(&mut target, rate, MEASURED_MS)?;
        let after = (machine::usage(tool.pid())?, machine::usage(target.pid())?);
        target.say("end");
        let truths = target.await_word("done");
        let capture = tool.finish();
        let all = truths.first().and_then(|truth| truth.allocated_count);
        let all = all.context("the target told no truth")? as f64;
        let lost = capture.losses.get("stack lost: ring full").copied();
        let each = |seconds: f64| seconds * 1e6 / made;
        let (user, kernel) = (after.0.0 - before.0.0, after.0.1 - before.0.1);
        self.made.push(made / seconds);
        self.lost.push(100.0 * lost.unwrap_or(0) as f64 / all);
        let complete = &capture.completeness;
        ensure!(complete.stacks > 0, "no stack was recorded");
        self.incomplete
            .push(100.0 * (complete.stacks - complete.complete) as f64 / complete.stacks as f64);
        self.cpu.push(100.0 * (user + kernel) / seconds);
        self.user.push(each(user));
        self.kernel.push(each(kernel));
        self.target
            .push(each(after.1.0 + after.1.1 - before.1.0 - before.1.1));
        self.rss
            .push(capture.tracer.max_rss as f64 / f64::from(1 << 20));
        self.is_exact &= is_exact(&capture, &truths);
        Ok(())
    }

    fn cells(&self, name: &str) -> [String; 10] {
        [
            name.to_owned(),
            self.made.summary().range(0),
            format!("{} %", self.lost.summary().range(3)),
            format!("{} %", self.incomplete.summary().range(3)),
            if self.is_exact { "yes" } else { "**no**" }.to_owned(),
            self.cpu.summary().range(1),
            self.user.summary().range(2),
            self.kernel.summary().range(2),
            self.target.summary().range(2),
            self.rss.summary().range(0),
        ]
    }
}

/// Allocations made, and the seconds that it took.
fn work(target: &mut Target, rate: u32, milliseconds: u32) -> Result<(f64, f64)> {
    target.say(&format!("{rate} {milliseconds}"));
    let told = target.await_value("made ");
    let (made, ns) = told.split_once(" in ").context("the target told no time")?;
    let took = Duration::from_nanos(ns.parse().context("nanoseconds")?);
    Ok((made.parse().context("allocations")?, took.as_secs_f64()))
}

/// Whether everything that is outstanding, with its stack or without, is what the target says.
pub fn is_exact(capture: &Capture, truths: &[Truth]) -> bool {
    let with = sum(&sites_through(capture, SiteKind::Malloc, "at_exact"));
    let is_lost =
        |site: &&_| matches!(site, offheap::capture::Site { stack_end, .. } if stack_end == "lost");
    let lost: Sum = sum(&capture.sites.iter().filter(is_lost).collect::<Vec<_>>());
    let told = |number: fn(&Truth) -> Option<u64>| truths.iter().filter_map(number).sum::<u64>();
    with.outstanding_bytes + lost.outstanding_bytes == told(|truth| truth.outstanding_bytes)
        && with.outstanding_count + lost.outstanding_count == told(|truth| truth.outstanding_count)
}
