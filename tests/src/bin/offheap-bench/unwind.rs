//! What unwinding and naming cost: stacks of a live JVM, walked and named by the code that `offheap` runs, on one core.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use offheap::accounts::{Accounts, Rules, Scene};
use offheap::events::{self, Event};
use offheap::ledger::Intervals;
use offheap::stack::Stack;
use offheap::target::modules::ModuleTable;
use offheap::unwind::Unwinder;
use offheap_tests::{Target, classpath, java};

mod captures;
mod cold;
mod cost;
mod drained;
mod kinds;
mod reads;
mod warm;

use captures::Captures;
use reads::Counting;

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
/// Which stacks are taken. A Deflater's seven allocations come from one place: their stacks differ at the leaf alone.
const PLACES: [(&str, usize); 2] = [
    ("stacks as they come, seven from each place", 1),
    ("each stack from another place", 7),
];
/// Records that are walked together: what offheap takes out of the ring at once is 1 MiB.
const AT_ONCE: usize = 80;
/// Shorter stacks are those of other threads.
const MIN_BYTES: usize = 3000;
const MIN_FRAMES: usize = 50;

/// Thread ids in the target's own namespace: this one has none.
type Tids = HashMap<u32, u32>;
type Books<'a> = Accounts<&'a Counting>;

/// A live JVM, and what was taken from it.
struct Bench {
    target: Target,
    captures: Captures,
}

pub fn run(rounds: usize) -> Result<()> {
    let Some(classes) = classpath() else {
        println!("the stacks to unwind need javac.");
        return Ok(());
    };
    let target = Target::start(java(&classes, &FLAGS, "BenchUnwind").arg(CLASSES));
    let captures = Captures::default();
    let mut bench = Bench { target, captures };
    for (name, step) in PLACES {
        bench.captures = Captures::take(&mut bench.target, STACKS, MIN_BYTES, step)?;
        bench.keep_deep()?;
        if step == 1 {
            cold::run(&bench, rounds.min(9))?;
        }
        warm::run(&bench, rounds, name)?;
    }
    Ok(())
}

/// Accounts that know nothing yet.
fn books<'a>(memory: &'a Counting, modules: &ModuleTable) -> Books<'a> {
    let rules = Rules {
        intervals: Intervals::new(0),
    };
    let mut books = Accounts::new(Unwinder::new(memory), rules);
    books.unwinder.modules_changed(modules);
    books
}

impl Bench {
    /// Forgets the stacks of compiler threads, which allocate, too.
    fn keep_deep(&mut self) -> Result<()> {
        let memory = Counting::open(self.target.pid())?;
        let modules = self.modules()?;
        let tids = Tids::new();
        let mut books = books(&memory, &modules);
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
