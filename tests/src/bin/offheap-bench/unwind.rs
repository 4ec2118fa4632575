//! What unwinding and naming cost: stacks of a live JVM, walked and named by the code that `offheap` runs, on one core.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use offheap::accounts::{Accounts, Rules, Scene};
use offheap::clock;
use offheap::events::{self, Event};
use offheap::stack::{Frame, JavaKind, Stack, StackEnd};
use offheap::symbolize::{MethodNames, NativeNames, Sources, name_stack};
use offheap::target::modules::ModuleTable;
use offheap::unwind::{Registers, StackCapture, Unwinder};
use offheap_tests::{Target, classpath, java};

use tracer_common::event::Header;

use crate::machine;
use crate::stats::{Goal, Series};
use crate::table::Table;

mod captures;
mod cost;
mod reads;

use captures::Captures;
use cost::{cpu_ns, forget_peak, resident_mib};
use reads::{Counting, Reads};

const CLASSES: &str = "5000";
/// Some 400 MB resident; `Plain` is never compiled, and reflection goes through libjvm for good.
const FLAGS: [&str; 7] = [
    "-Xms320m",
    "-Xmx320m",
    "-XX:+AlwaysPreTouch",
    "-XX:CompileCommand=quiet",
    "-XX:CompileCommand=exclude,targets.BenchUnwind$Plain::*",
    "-Dsun.reflect.inflationThreshold=2147483647",
    "-Djdk.reflect.useNativeAccessorOnly=true",
];
const STACKS: usize = 2000;
/// Records that are walked together: what offheap takes out of the ring at once is 1 MiB.
const AT_ONCE: usize = 80;
/// Shorter stacks are those of other threads.
const MIN_BYTES: usize = 3000;
const MIN_FRAMES: usize = 50;

const STACK_GOAL_US: f64 = 10.0;
const COLD_GOAL_MS: f64 = 300.0;
const MEMORY_GOAL: f64 = 100.0;

type Books<'a> = Accounts<&'a Counting>;

/// A live JVM, and what was taken from it.
struct Bench {
    target: Target,
    captures: Captures,
}

/// What one pass over all stacks took, in microseconds of CPU time per stack.
#[derive(Default)]
struct Passes {
    parse: Series,
    walk: Series,
    book: Series,
    name: Series,
}

pub fn run(rounds: usize) -> Result<()> {
    let Some(classes) = classpath() else {
        println!("the stacks to unwind need javac.");
        return Ok(());
    };
    let mut target = Target::start(java(&classes, &FLAGS, "BenchUnwind").arg(CLASSES));
    let captures = Captures::take(&mut target, STACKS, MIN_BYTES)?;
    let mut bench = Bench { target, captures };
    bench.keep_deep()?;
    cold(&bench, rounds.min(9))?;
    warm(&bench, rounds)
}

fn rules() -> Rules {
    Rules {
        interval: 0,
        by_thread: false,
    }
}

impl Bench {
    /// Forgets the stacks of compiler threads, which allocate, too.
    fn keep_deep(&mut self) -> Result<()> {
        let memory = Counting::open(self.target.pid())?;
        let modules = self.modules()?;
        let tids = Tids::new();
        let mut books: Books<'_> = Accounts::new(Unwinder::new(&memory), rules());
        books.unwinder.modules_changed(&modules);
        let mut records = std::mem::take(&mut self.captures.records);
        records.retain(|record| {
            let scene = self.scene(&modules, &tids);
            let walked = self.walk(&mut books, scene, [record.clone()]);
            walked
                .iter()
                .any(|(_, stack)| stack.frames.len() >= MIN_FRAMES)
        });
        self.captures.records = records;
        Ok(())
    }

    fn modules(&self) -> Result<ModuleTable> {
        let mut modules = ModuleTable::default();
        modules
            .refresh(self.target.pid())
            .context("cannot read the mappings")?;
        Ok(modules)
    }

    fn scene<'a>(&'a self, modules: &'a ModuleTable, tids: &'a Tids) -> Scene<'a> {
        Scene {
            modules,
            points: &self.captures.points,
            inner_tids: tids,
        }
    }

    /// The events and stacks of the records that tell of an allocation.
    fn walk(
        &self,
        books: &mut Books<'_>,
        scene: Scene<'_>,
        records: impl IntoIterator<Item = Bytes>,
    ) -> Vec<(Event, Stack)> {
        let events = records.into_iter().filter_map(events::parse);
        let events: Vec<Event> = events.filter(|event| event.made().is_some()).collect();
        let made: Vec<_> = events.iter().filter_map(Event::made).collect();
        let stacks = books.unwind_all(&made, scene);
        events.into_iter().zip(stacks).collect()
    }
}

type Tids = std::collections::HashMap<u32, u32>;

fn warm(bench: &Bench, rounds: usize) -> Result<()> {
    let memory = Counting::open(bench.target.pid())?;
    let modules = bench.modules()?;
    let tids = Tids::new();
    let scene = bench.scene(&modules, &tids);
    let mut books: Books<'_> = Accounts::new(Unwinder::new(&memory), rules());
    books.unwinder.modules_changed(&modules);
    let records = &bench.captures.records;
    let walked = bench.walk(&mut books, scene, records.iter().cloned());
    let made: Vec<_> = walked
        .iter()
        .filter_map(|(event, _)| event.made())
        .collect();
    let stacks: Vec<&Stack> = walked.iter().map(|(_, stack)| stack).collect();
    ensure!(stacks.len() == records.len(), "a record makes no sense");
    describe(&stacks, &bench.captures);

    let mut names = NativeNames::default();
    names.resolve(stacks.iter().copied(), &modules);
    let mut passes = Passes::default();
    for round in 0..rounds {
        let count = records.len() as f64;
        let timed = |series: &mut Series, pass: &mut dyn FnMut()| {
            let begin = cpu_ns();
            pass();
            series.push((cpu_ns() - begin) as f64 / 1000.0 / count);
        };
        timed(&mut passes.parse, &mut || {
            for record in records {
                black_box(events::parse(events::copy_used(record)));
            }
        });
        timed(&mut passes.walk, &mut || {
            for made in made.chunks(AT_ONCE) {
                black_box(books.unwind_all(made, scene));
            }
        });
        let mut copies: Vec<(Event, Stack)> = walked.clone();
        timed(&mut passes.book, &mut || {
            for (event, stack) in copies.drain(..) {
                books.book(event, Some(stack), scene);
            }
        });
        let methods = books.unwinder.methods();
        let sources = Sources {
            modules: &modules,
            methods,
            method_names: &MethodNames::new(methods),
            perf_map: None,
        };
        timed(&mut passes.name, &mut || {
            for stack in &stacks {
                black_box(name_stack(stack, &sources, &mut names));
            }
        });
        if round % 10 == 9 {
            eprintln!(
                "unwind: round {} of {rounds}, load {}",
                round + 1,
                machine::load()
            );
        }
    }
    print_passes(&passes);
    sustained(bench, &memory, &mut books, scene);
    Ok(())
}

fn print_passes(passes: &Passes) {
    let sum = |a: &Series, b: &Series| Series(a.0.iter().zip(&b.0).map(|(a, b)| a + b).collect());
    let both = sum(&passes.walk, &passes.name);
    let event = sum(&sum(&passes.parse, &passes.walk), &passes.book);
    let mut table = Table::new([
        "one warm stack",
        "µs of CPU",
        "stacks/s of one core",
        "goal",
    ]);
    for (name, series, goal) in [
        ("copy from the ring and parse", &passes.parse, false),
        ("walk, nothing to be looked at again", &passes.walk, false),
        (
            "book: intern the stack, open the allocation",
            &passes.book,
            false,
        ),
        ("an event: all of these", &event, false),
        (
            "name, once per distinct stack in a snapshot",
            &passes.name,
            false,
        ),
        ("walk and name", &both, true),
    ] {
        let summary = series.summary();
        let goal = match goal {
            true => format!(
                "≤ {STACK_GOAL_US} µs: {}",
                Goal(summary.median <= STACK_GOAL_US)
            ),
            false => String::new(),
        };
        table.row([
            name.to_owned(),
            summary.range(2),
            format!("{:.0}", 1e6 / summary.median),
            goal,
        ]);
    }
    table.print("Unwinding and naming a stack, warm");
}

/// How many stacks wait in the ring when it is drained, a hundred times a second.
const DRAINS: [(usize, &str); 3] = [
    (1000, "100,000 stacks/s: 1,000 in a drain"),
    (100, "10,000 stacks/s: 100 in a drain"),
    (1, "each drained alone"),
];

/// Takes stacks from records to the accounts, as many at a time as wait in a drain. To the walk they are as young as they
/// would be then: what was read of the JVM before the drain has to be looked at again.
fn sustained(bench: &Bench, memory: &Counting, books: &mut Books<'_>, scene: Scene<'_>) {
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
    for (per_drain, name) in DRAINS {
        let mut cost = Series::default();
        let (mut batches, mut reads) = ([0_u64; 3], Reads::default());
        for _ in 0..9 {
            for drain in bench.captures.records.chunks(per_drain) {
                let young: Vec<Bytes> = drain.iter().map(|record| taken_now(record)).collect();
                let begin = cpu_ns();
                for batch in young.chunks(AT_ONCE) {
                    let before = memory.reads();
                    let copied = batch.iter().map(|record| events::copy_used(record));
                    for (event, stack) in bench.walk(books, scene, copied) {
                        books.book(event, Some(stack), scene);
                    }
                    let now = memory.reads().since(before);
                    batches[now.calls.min(2) as usize] += 1;
                    reads = reads.and(now);
                }
                cost.push((cpu_ns() - begin) as f64 / 1000.0 / young.len() as f64);
            }
        }
        let median = cost.summary().median;
        let per_read = |what: u64| what as f64 / reads.calls.max(1) as f64;
        table.row([
            name.to_owned(),
            cost.summary().range(2),
            format!("{:.0}", 1e6 / median),
            batches[0].to_string(),
            batches[1].to_string(),
            batches[2].to_string(),
            format!("{:.1}", per_read(reads.pieces)),
            format!("{:.1}", per_read(reads.bytes) / 1024.0),
        ]);
    }
    table.print("Walking and booking, warm, while the JVM goes on");
}

/// The record as if its allocation had been made at this moment.
fn taken_now(record: &Bytes) -> Bytes {
    let mut bytes = record.to_vec();
    let at = std::mem::offset_of!(Header, time);
    bytes[at..at + 8].copy_from_slice(&clock::monotonic().to_ne_bytes());
    bytes.into()
}

fn describe(stacks: &[&Stack], captures: &Captures) {
    let frames = Series(
        stacks
            .iter()
            .map(|stack| stack.frames.len() as f64)
            .collect(),
    )
    .summary();
    let bytes = Series(
        captures
            .records
            .iter()
            .map(|record| record.len() as f64 / 1024.0)
            .collect(),
    )
    .summary();
    let complete = stacks
        .iter()
        .filter(|stack| stack.end == StackEnd::Root)
        .count();
    println!(
        "\n{} stacks of {} frames in records of {} KiB; {complete} complete",
        stacks.len(),
        frames.range(0),
        bytes.range(0)
    );
    let kinds: [(&str, fn(&Frame) -> bool); 6] = [
        ("native", |frame| matches!(frame, Frame::Native { .. })),
        ("interpreted", |frame| {
            matches!(
                frame,
                Frame::Java {
                    kind: JavaKind::Interpreted,
                    ..
                }
            )
        }),
        ("C1", |frame| {
            matches!(
                frame,
                Frame::Java {
                    kind: JavaKind::C1,
                    ..
                }
            )
        }),
        ("C2", |frame| {
            matches!(
                frame,
                Frame::Java {
                    kind: JavaKind::C2,
                    ..
                }
            )
        }),
        ("inlined", |frame| {
            matches!(
                frame,
                Frame::Java {
                    kind: JavaKind::Inlined,
                    ..
                }
            )
        }),
        ("stub", |frame| matches!(frame, Frame::Stub { .. })),
    ];
    let all: Vec<&Frame> = stacks.iter().flat_map(|stack| &stack.frames).collect();
    for (name, is) in kinds {
        let count = all.iter().filter(|frame| is(frame)).count();
        println!(
            "* {name}: {:.1} per stack",
            count as f64 / stacks.len() as f64
        );
    }
    let distinct: std::collections::HashSet<&Stack> = stacks.iter().copied().collect();
    println!("* {} distinct stacks", distinct.len());
}

/// From nothing to the first stack, to the tables of all modules, to all stacks.
fn cold(bench: &Bench, rounds: usize) -> Result<()> {
    let mut results = [const { Series(Vec::new()) }; 7];
    for _ in 0..rounds {
        forget_peak();
        let (rss, _) = resident_mib();
        let memory = Counting::open(bench.target.pid())?;
        let begin = Instant::now();
        let ms = || begin.elapsed().as_secs_f64() * 1000.0;
        let modules = bench.modules()?;
        let tids = Tids::new();
        let scene = bench.scene(&modules, &tids);
        let mut books: Books<'_> = Accounts::new(Unwinder::new(&memory), rules());
        let mapped = ms();
        books.unwinder.modules_changed(&modules);
        let layout = ms();
        black_box(bench.walk(&mut books, scene, bench.captures.records.first().cloned()));
        let first = ms();
        for module in &modules.modules {
            for range in module.ranges.iter().filter(|range| range.executable) {
                black_box(books.unwinder.unwind(&modules, &at(range.start)));
            }
        }
        let tables = ms();
        let (after, peak) = resident_mib();
        for records in bench.captures.records.chunks(AT_ONCE) {
            black_box(bench.walk(&mut books, scene, records.iter().cloned()));
        }
        let (all, all_peak) = resident_mib();
        for (series, value) in results.iter_mut().zip([
            mapped,
            layout,
            first,
            tables,
            peak - rss,
            after - rss,
            all - rss,
        ]) {
            series.push(value);
        }
        let _ = all_peak;
    }
    let mut table = Table::new(["cold", "", "goal"]);
    let [mapped, layout, first, tables, peak, after, all] = results.map(|series| series.summary());
    table.row([
        "mappings, files and build ids, ms".to_owned(),
        mapped.range(1),
    ]);
    table.row(["… and the JVM's layout, ms".to_owned(), layout.range(1)]);
    table.row(["… and the first stack, ms".to_owned(), first.range(1)]);
    table.row([
        "… and the unwind tables of all modules, ms".to_owned(),
        tables.range(1),
        format!(
            "≤ {COLD_GOAL_MS} ms: {}",
            Goal(tables.median <= COLD_GOAL_MS)
        ),
    ]);
    table.row([
        "memory for that: peak, MiB".to_owned(),
        peak.range(1),
        format!(
            "≤ {MEMORY_GOAL} MB: {}",
            Goal(peak.median * 1.048576 <= MEMORY_GOAL)
        ),
    ]);
    table.row(["memory for that: kept, MiB".to_owned(), after.range(1)]);
    table.row(["… and for all stacks, MiB".to_owned(), all.range(1)]);
    table.print("From nothing to stacks");
    println!(
        "target: RSS {}",
        std::fs::read_to_string(format!("/proc/{}/status", bench.target.pid()))?
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap_or("")
    );
    Ok(())
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
        age: Duration::ZERO,
        truncated: false,
        tid: 0,
        replaced: &[],
    }
}
