//! offheap's own CPU and memory at a thousand recorded stacks per second.

use std::process::Command;

use anyhow::{Result, ensure};
use offheap::capture::Capture;
use offheap_tests::{CFlags, Target, Tool, c_program, classpath, java};

use crate::machine;
use crate::stats::{Goal, Series, Summary};
use crate::table::Table;

const RATE: u64 = 1000;
/// Java frames above a Deflater's constructor.
const DEPTH: &str = "64";
/// What is only done once, such as naming the frames' functions, is over by then.
const WARM_UP_SECONDS: u64 = 5;
const SECONDS: u64 = 20;
const CPU_GOAL: f64 = 2.0;
const RSS_GOAL: f64 = 80.0;

struct Row {
    name: &'static str,
    start: fn() -> Option<Target>,
    flags: &'static [&'static str],
}

const ROWS: [Row; 2] = [
    Row {
        name: "C, 64 frames in 16 KiB of stack, --sample-bytes 0 --ring-bytes 16m",
        start: c_target,
        flags: &[
            "--hooks",
            "malloc",
            "--sample-bytes",
            "0",
            "--ring-bytes",
            "16m",
        ],
    },
    Row {
        name: "JVM, 64 Java frames, Deflaters, --hooks zlib",
        start: java_target,
        flags: &["--hooks", "zlib", "--ring-bytes", "16m"],
    },
];

#[derive(Default)]
struct Results {
    steady: Series,
    whole: Series,
    rss: Series,
    recorded: Series,
    complete: Series,
}

pub fn run(rounds: usize) -> Result<()> {
    let mut table = Table::new([
        "1,000 stacks/s",
        "stacks recorded /s",
        "complete",
        "CPU in steady state, %",
        "CPU of the whole run, %",
        "goal",
        "peak RSS, MiB",
        "goal",
    ]);
    for row in &ROWS {
        let mut results = Results::default();
        for round in 0..rounds {
            let Some(target) = (row.start)() else {
                println!("left out: {}", row.name);
                break;
            };
            results.add(measure(target, row.flags)?);
            eprintln!(
                "tracer: round {} of {rounds}, load {}",
                round + 1,
                machine::load()
            );
        }
        if !results.steady.0.is_empty() {
            table.row(results.cells(row.name));
        }
    }
    table.print("offheap itself");
    Ok(())
}

fn c_target() -> Option<Target> {
    let mut command = Command::new(c_program("bench_stacks", CFlags::default()));
    Some(Target::start(command.arg(RATE.to_string())))
}

fn java_target() -> Option<Target> {
    let mut command = java(&classpath()?, &[], "BenchStacks");
    let mut target = Target::start(command.args([&RATE.to_string(), DEPTH]));
    work(&mut target, 3);
    Some(target)
}

fn work(target: &mut Target, seconds: u64) {
    target.say(&seconds.to_string());
    target.await_value("made ");
}

/// CPU seconds in the steady state, and what offheap says of the whole run.
fn measure(mut target: Target, flags: &[&str]) -> Result<(f64, Capture)> {
    let tool = Tool::capture(target.pid(), flags);
    work(&mut target, WARM_UP_SECONDS);
    let before = machine::cpu_seconds(tool.pid())?;
    work(&mut target, SECONDS);
    let steady = machine::cpu_seconds(tool.pid())? - before;
    let capture = tool.finish();
    ensure!(capture.completeness.stacks > 0, "no stack was recorded");
    Ok((steady, capture))
}

impl Results {
    fn add(&mut self, (steady, capture): (f64, Capture)) {
        let stacks = capture.completeness.stacks as f64;
        self.steady.push(100.0 * steady / SECONDS as f64);
        self.whole
            .push(100.0 * capture.tracer.cpu_seconds / capture.window.seconds);
        self.rss
            .push(capture.tracer.max_rss as f64 / f64::from(1 << 20));
        self.recorded
            .push(stacks / (WARM_UP_SECONDS + SECONDS) as f64);
        self.complete
            .push(100.0 * capture.completeness.complete as f64 / stacks);
    }

    fn cells(&self, name: &str) -> [String; 8] {
        let (steady, rss): (Summary, Summary) = (self.steady.summary(), self.rss.summary());
        [
            name.to_owned(),
            format!("{:.0}", self.recorded.summary().median),
            format!("{:.1} %", self.complete.summary().median),
            steady.range(1),
            self.whole.summary().range(1),
            format!("< {CPU_GOAL} %: {}", Goal(steady.median < CPU_GOAL)),
            rss.range(0),
            format!("< {RSS_GOAL} MB: {}", Goal(rss.max * 1.048576 < RSS_GOAL)),
        ]
    }
}
