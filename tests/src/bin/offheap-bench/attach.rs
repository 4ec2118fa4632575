//! How long it takes until the probes are live, and until they are gone, on a JVM.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use offheap_tests::code::{self, Instruction};
use offheap_tests::{DEADLINE, Target, Tool, classpath, java};

use crate::machine;
use crate::stats::{Goal, Series};
use crate::table::Table;

/// Requests that keep a JVM busy for longer than this takes.
const ENDLESS: &str = "2000000000";
/// Name, threads per CPU, and what they are to do.
const JVMS: [(&str, usize, &str); 3] = [
    ("idle", 1, "4000"),
    ("busy, a thread per CPU", 1, ENDLESS),
    ("busy, two threads per CPU", 2, ENDLESS),
];
/// Milliseconds, for the first probe and for the detach.
const GOAL: f64 = 500.0;
/// How closely the end of the probes is watched.
const STEP: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Results {
    first: Series,
    all: Series,
    line: Series,
    gone: Series,
    ended: Series,
}

pub fn run(rounds: usize) -> Result<()> {
    let Some(classes) = classpath() else {
        println!("attaching to a JVM needs javac.");
        return Ok(());
    };
    let header = [
        "JVM",
        "functions",
        "first probe, ms",
        "all probes, ms",
        "exec to `probes live`, ms",
        "goal",
        "SIGINT to probes gone, ms",
        "goal",
        "SIGINT to exit, ms",
    ];
    let mut table = Table::new(header);
    for (name, threads_per_cpu, requests) in JVMS {
        let threads = (threads_per_cpu * machine::cpus()).to_string();
        let mut target = Target::start(java(&classes, &[], "BenchGzip").args([&threads, "32768"]));
        target.say(requests);
        if requests != ENDLESS {
            target.await_value("ns ");
        }
        let points = attach_points(&target);
        let mut results = Results::default();
        for _ in 0..rounds {
            results.measure(&target, &points)?;
        }
        eprintln!("attach: {name}, load {}", machine::load());
        table.row(results.cells(name, points.len()));
    }
    table.print("Until the probes are live, and until they are gone");
    Ok(())
}

/// The first run also warms the caches, as a second attach during an incident would find them.
fn attach_points(target: &Target) -> Vec<Instruction> {
    let capture = Tool::capture(target.pid(), &[]).finish();
    code::attach_points(&capture, target.pid())
}

impl Results {
    fn measure(&mut self, target: &Target, points: &[Instruction]) -> Result<()> {
        let start = Instant::now();
        let tool = Tool::capture_unawaited(target.pid(), &["--max-overhead", "5"]);
        tool.await_live();
        self.line.push(milliseconds(start));
        // What begins after the attach, such as measuring the traps, is over.
        sleep(Duration::from_secs(1));
        for point in points {
            ensure!(point.is_patched(target.pid())?, "no probe is in {point:?}");
        }
        let interrupt = Instant::now();
        tool.signal(libc::SIGINT);
        wait_restored(points, target.pid())?;
        self.gone.push(milliseconds(interrupt));
        let finished = tool.ended();
        self.ended.push(milliseconds(interrupt));
        let tracer = finished.capture().tracer;
        self.first.push(tracer.first_probe_ms);
        self.all.push(tracer.all_probes_ms);
        Ok(())
    }

    fn cells(&self, name: &str, functions: usize) -> [String; 9] {
        let (first, gone) = (self.first.summary(), self.gone.summary());
        let goal = |value: f64| format!("< {GOAL}: {}", Goal(value < GOAL));
        [
            name.to_owned(),
            functions.to_string(),
            first.range(0),
            self.all.summary().range(0),
            self.line.summary().range(0),
            goal(first.median),
            gone.range(0),
            goal(gone.median),
            self.ended.summary().range(0),
        ]
    }
}

fn wait_restored(points: &[Instruction], pid: u32) -> Result<()> {
    let until = Instant::now() + DEADLINE;
    for point in points {
        while point.is_patched(pid)? {
            ensure!(Instant::now() < until, "a breakpoint remains in {point:?}");
            sleep(STEP);
        }
    }
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
