//! What one pass over all stacks takes, stage by stage.

use std::hint::black_box;

use anyhow::{Result, ensure};
use offheap::accounts::Scene;
use offheap::events::{self, Event};
use offheap::stack::Stack;
use offheap::symbolize::{MethodNames, Namer, NativeNames, Sources};

use super::cost::cpu_ns;
use super::reads::Counting;
use super::{AT_ONCE, Bench, Books, Tids, drained, kinds};
use crate::machine;
use crate::stats::{Goal, Series};
use crate::table::Table;

const STACK_GOAL_US: f64 = 10.0;

/// Microseconds of CPU time per stack.
#[derive(Default)]
struct Passes {
    parse: Series,
    walk: Series,
    book: Series,
    name: Series,
}

/// Everything that the passes work on.
struct Work<'a> {
    bench: &'a Bench,
    scene: Scene<'a>,
    walked: &'a [(Event, Stack)],
    names: NativeNames,
}

pub fn run(bench: &Bench, rounds: usize, name: &str) -> Result<()> {
    let memory = Counting::open(bench.target.pid())?;
    let modules = bench.modules()?;
    let tids = Tids::new();
    let scene = bench.scene(&modules, &tids);
    let mut books = super::books(&memory, &modules);
    let records = &bench.captures.records;
    let walked = bench.walk(&mut books, scene, records.iter().cloned());
    ensure!(walked.len() == records.len(), "a record makes no sense");
    kinds::print(&walked, &bench.captures);
    let mut work = Work {
        bench,
        scene,
        walked: &walked,
        names: NativeNames::default(),
    };
    work.names
        .resolve(walked.iter().map(|(_, stack)| stack), &modules);
    let mut passes = Passes::default();
    for round in 0..rounds {
        work.pass(&mut books, &mut passes);
        if round % 10 == 9 {
            let load = machine::load();
            eprintln!("unwind: round {} of {rounds}, load {load}", round + 1);
        }
    }
    passes.print(name);
    drained::run(bench, &memory, &mut books, scene, name);
    Ok(())
}

impl Work<'_> {
    fn pass(&mut self, books: &mut Books<'_>, passes: &mut Passes) {
        let count = self.walked.len() as f64;
        let timed = |series: &mut Series, pass: &mut dyn FnMut()| {
            let begin = cpu_ns();
            pass();
            series.push((cpu_ns() - begin) as f64 / 1000.0 / count);
        };
        timed(&mut passes.parse, &mut || {
            for record in &self.bench.captures.records {
                black_box(events::parse(events::copy_used(record)));
            }
        });
        let made = self.walked.iter().filter_map(|(event, _)| event.made());
        let made: Vec<_> = made.collect();
        timed(&mut passes.walk, &mut || {
            for made in made.chunks(AT_ONCE) {
                black_box(books.unwind_all(made, self.scene));
            }
        });
        let mut copies = self.walked.to_vec();
        timed(&mut passes.book, &mut || {
            for (event, stack) in copies.drain(..) {
                books.book(event, Some(stack.into()), self.scene);
            }
        });
        let methods = books.unwinder.methods();
        let sources = Sources {
            modules: self.scene.modules,
            methods,
            method_names: &MethodNames::new(methods),
            perf_map: None,
        };
        let mut namer = Namer::new(sources, &mut self.names);
        timed(&mut passes.name, &mut || {
            for (_, stack) in self.walked {
                black_box(namer.name(stack));
            }
        });
    }
}

impl Passes {
    fn print(&self, name: &str) {
        let both = self.walk.plus(&self.name);
        let event = self.parse.plus(&self.walk).plus(&self.book);
        let mut table = Table::new([
            "one warm stack",
            "µs of CPU",
            "stacks/s of one core",
            "goal",
        ]);
        let mut row = |name: &str, series: &Series, goal: Option<f64>| {
            let summary = series.summary();
            let goal = goal.map(|goal| format!("≤ {goal} µs: {}", Goal(summary.median <= goal)));
            table.row([
                name.to_owned(),
                summary.range(2),
                format!("{:.0}", 1e6 / summary.median),
                goal.unwrap_or_default(),
            ]);
        };
        row("copy from the ring and parse", &self.parse, None);
        row("walk, nothing to be looked at again", &self.walk, None);
        row(
            "book: intern the stack, open the allocation",
            &self.book,
            None,
        );
        row("an event: all of these", &event, None);
        row(
            "name: once per distinct stack and snapshot",
            &self.name,
            None,
        );
        row("walk and name", &both, Some(STACK_GOAL_US));
        table.print(&format!("Unwinding and naming, warm: {name}"));
    }
}
