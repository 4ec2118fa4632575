//! Stacks as the kernel side copies them, taken from a live JVM.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use offheap::events::{self, Event};
use offheap::functions::{Function, Group};
use offheap::probes::{Capacities, Point, Probes, Setup, Work, kernel_offsets};
use offheap::target::modules::ModuleTable;
use offheap_tests::Target;
use tracer_common::config::{Config, MAX_POINTS, STACK_CLASSES};

use crate::floor;

/// Deflaters opened between two looks at the ring, which has room for their stacks.
const AT_ONCE: usize = 200;
const RING_BYTES: u32 = 128 << 20;

/// Records of a JVM that goes on.
#[derive(Default)]
pub struct Captures {
    pub records: Vec<Bytes>,
    pub points: Vec<Point>,
}

impl Captures {
    /// `count` records of stacks that are at least `bytes` long, from the deflaters that `target` opens: every `step`th.
    pub fn take(target: &mut Target, count: usize, bytes: usize, step: usize) -> Result<Captures> {
        let pid = target.pid();
        let mut modules = ModuleTable::default();
        modules.refresh(pid).context("cannot read the mappings")?;
        let mut probes = Probes::load(pid, config(pid), setup())?;
        floor::hook(&mut probes, &modules, is_wanted)?;
        // The kernel maps its trampoline at the first return; from then on calls inside calls are recognised.
        open(target, &mut probes, &mut Vec::new(), (0, 1));
        modules.refresh(pid).context("cannot read the mappings")?;
        if let Some(address) = modules.return_probe() {
            probes.set_trampoline(address)?;
        }
        let mut records = Vec::new();
        for _ in 0..100 {
            open(target, &mut probes, &mut records, (bytes, step));
            if records.len() >= count {
                break;
            }
        }
        ensure!(
            records.len() >= count,
            "only {} stacks were taken",
            records.len()
        );
        records.truncate(count);
        Ok(Captures {
            records,
            points: probes.points.clone(),
        })
    }
}

/// Opens and ends, and all blocks that a stream is made of.
fn is_wanted(function: &Function) -> bool {
    matches!(function.group, Group::Zlib | Group::Malloc)
}

fn open(
    target: &mut Target,
    probes: &mut Probes,
    records: &mut Vec<Bytes>,
    (bytes, step): (usize, usize),
) {
    target.say(&AT_ONCE.to_string());
    target.await_value("made ");
    let mut seen = 0;
    let mut drained = Vec::new();
    probes.drain(u64::MAX, &mut drained);
    for record in drained {
        let event = events::parse(record.clone());
        let stack = event.as_ref().and_then(Event::made).map(|made| &made.stack);
        if stack.is_some_and(|stack| stack.bytes.len() >= bytes && !stack.truncated) {
            seen += 1;
            if seen % step == 0 {
                records.push(record);
            }
        }
    }
}

fn config(pid: u32) -> Config {
    Config {
        tgid: pid,
        stack_pages: STACK_CLASSES[STACK_CLASSES.len() - 1],
        wakeup_bytes: RING_BYTES,
        block_bytes: RING_BYTES / 4 * 3,
        offsets: kernel_offsets(),
        min_size: 0,
        max_size: u64::MAX,
    }
}

fn setup() -> Setup {
    Setup {
        capacities: Capacities {
            ring_bytes: RING_BYTES,
            blocks: 1 << 16,
            streams: 1 << 10,
            threads: 1 << 10,
            points: MAX_POINTS,
        },
        verbosity: 0,
        links: None,
        work: Work::Trace,
        sample_interval: 0,
    }
}
