//! A JVM that gzips responses, a Deflater created and ended for each: without offheap, with zlib hooks, with all hooks.
//!
//! The share that tracing takes of a real response is smaller than what the machine's noise lets one see. So tiny bodies
//! are served too, which leave little but the Deflater: there the cost per Deflater shows, in microseconds.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use offheap_tests::{Target, Tool, classpath, java};

use crate::machine;
use crate::stats::{Series, Summary};
use crate::table::Table;

struct Workload {
    name: &'static str,
    threads: &'static str,
    body: &'static str,
    /// In a round. Many short rounds beat few long ones where the machine's speed drifts.
    requests: u32,
}

/// Some 0.3 s on two CPUs.
const RESPONSES: Workload = Workload {
    name: "gzip of 32 KiB, 4 threads",
    threads: "4",
    body: "32768",
    requests: 600,
};
/// No more than the ring below takes, so that no stack is lost.
const TINY: Workload = Workload {
    name: "gzip of 64 bytes, 1 thread",
    threads: "1",
    body: "64",
    requests: 4000,
};

const ROWS: [(&str, Option<&[&str]>); 3] = [
    ("without offheap", None),
    (
        "--hooks zlib",
        Some(&["--ring-bytes", "128m", "--hooks", "zlib"]),
    ),
    ("default hooks", Some(&["--ring-bytes", "128m"])),
];
const ZLIB: usize = 1;
/// Of the target's CPU time, in percent.
const GOAL: f64 = 1.0;

/// Enough for C2 to have compiled everything.
const WARM_UP: u32 = 8000;
/// Until what offheap does only once, after the attach, is over; without offheap too, so that all rows are alike.
const SETTLE: Duration = Duration::from_millis(500);
/// Until offheap has taken what waits in the ring.
const DRAIN: Duration = Duration::from_millis(200);

pub fn run(rounds: usize) -> Result<()> {
    let Some(classes) = classpath() else {
        println!("the gzip workload needs javac.");
        return Ok(());
    };
    let mut measured = Vec::new();
    for workload in [RESPONSES, TINY] {
        let mut command = java(&classes, &[], "BenchGzip");
        let mut server = Server(Target::start(
            command.args([workload.threads, workload.body]),
        ));
        server.serve(WARM_UP)?;
        let mut results = ROWS.map(|_| Results::default());
        for round in 0..rounds {
            for place in 0..ROWS.len() {
                // Each row takes each place in turn: what drifts within a round hits all alike.
                let index = (place + round) % ROWS.len();
                results[index].push(server.watched(ROWS[index].1, workload.requests)?);
            }
            if round % 10 == 9 {
                eprintln!(
                    "gzip: round {} of {rounds}, load {}",
                    round + 1,
                    machine::load()
                );
            }
        }
        table(&workload, &results);
        measured.push(results);
    }
    conclude(&measured[0], &measured[1]);
    Ok(())
}

struct Server(Target);

/// What one request took, in microseconds.
#[derive(Default)]
struct Took {
    cpu: f64,
    wall: f64,
    tracer: f64,
    /// Share of the stacks that found the ring full.
    lost: f64,
}

#[derive(Default)]
struct Results {
    cpu: Series,
    wall: Series,
    tracer: Series,
    lost: Series,
}

impl Server {
    fn serve(&mut self, requests: u32) -> Result<Took> {
        self.0.say(&requests.to_string());
        let answer = self.0.await_value("ns ");
        let (cpu, wall) = answer.split_once(' ').context("the JVM told no times")?;
        let each = |ns: &str| anyhow::Ok(ns.parse::<f64>()? / 1000.0 / f64::from(requests));
        Ok(Took {
            cpu: each(cpu)?,
            wall: each(wall)?,
            ..Took::default()
        })
    }

    fn watched(&mut self, flags: Option<&[&str]>, requests: u32) -> Result<Took> {
        let Some(flags) = flags else {
            sleep(SETTLE);
            return self.serve(requests);
        };
        let tool = Tool::capture(self.0.pid(), flags);
        sleep(SETTLE);
        let before = machine::cpu_seconds(tool.pid())?;
        let mut took = self.serve(requests)?;
        sleep(DRAIN);
        let after = machine::cpu_seconds(tool.pid())?;
        took.tracer = (after - before) * 1e6 / f64::from(requests);
        let lost = tool.finish().losses.get("stack lost: ring full").copied();
        took.lost = lost.unwrap_or(0) as f64 / f64::from(requests);
        Ok(took)
    }
}

impl Results {
    fn push(&mut self, took: Took) {
        self.cpu.push(took.cpu);
        self.wall.push(took.wall);
        self.tracer.push(took.tracer);
        self.lost.push(took.lost);
    }
}

fn percent(series: &Series, base: &Series) -> Summary {
    let ratios = series.over(base).0;
    Series(ratios.iter().map(|ratio| (ratio - 1.0) * 100.0).collect()).summary()
}

fn table(workload: &Workload, results: &[Results]) {
    let mut table = Table::new([
        "hooks",
        "CPU µs per request",
        "more CPU, µs",
        "more CPU, %",
        "more time, %",
        "offheap's own CPU, µs per request",
        "stacks lost",
    ]);
    let base = &results[0];
    for ((name, flags), result) in ROWS.iter().zip(results) {
        let mut cells = vec![(*name).to_owned(), result.cpu.summary().range(1)];
        if flags.is_some() {
            cells.extend([
                result.cpu.minus(&base.cpu).summary().interval(2),
                percent(&result.cpu, &base.cpu).interval(2),
                percent(&result.wall, &base.wall).interval(1),
                format!("{:.0}", result.tracer.summary().median),
                format!("{:.0} %", 100.0 * result.lost.summary().median),
            ]);
        }
        table.row(cells);
    }
    table.print(&format!(
        "A JVM: {} (differences with the 95 % interval of the median)",
        workload.name
    ));
}

/// The direct measurement decides. The other one is sharper, but its probes run with warm caches: it is a lower bound.
fn conclude(responses: &[Results; 3], tiny: &[Results; 3]) {
    let direct = percent(&responses[ZLIB].cpu, &responses[0].cpu);
    println!(
        "zlib hooks: {} % of the CPU time that gzip of 32 KiB takes; goal < {GOAL} %: {}",
        direct.interval(2),
        Verdict::of(&direct),
    );
    let whole = responses[0].cpu.summary().median;
    let cost = tiny[ZLIB].cpu.minus(&tiny[0].cpu).summary();
    println!(
        "at least {} µs per Deflater, with warm caches: {:.2} % of {whole:.0} µs.",
        cost.interval(2),
        100.0 * cost.median / whole,
    );
}

/// What can be said of the goal, given the interval.
enum Verdict {
    Met,
    Missed,
    /// The interval holds the goal: more rounds, or a quieter machine, are needed.
    Open,
}

impl Verdict {
    fn of(share: &Summary) -> Verdict {
        match share {
            share if share.high < GOAL => Verdict::Met,
            share if share.low >= GOAL => Verdict::Missed,
            _ => Verdict::Open,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Met => "met",
            Verdict::Missed => "**not met**",
            Verdict::Open => "open, the interval holds it",
        })
    }
}
