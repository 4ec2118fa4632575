//! Reads everything of one look. Nothing of the target is stopped, signalled or written.

use std::io::{self, BufReader, Read as _};
use std::time::Instant;

use super::claims::Claims;
use super::glibc::Glibc;
use super::java::Described;
use super::owners::{Kind, shared_pieces};
use super::reading::{Facts, Jvm, Reading};
use super::residence::Residence;
use super::smaps::{self, Mapping, Smaps};
use super::{cgroup, tasks};
use crate::target::Tid;
use crate::target::modules::ModuleTable;
use crate::target::process::Process;
use crate::unwind::hotspot::{UnsupportedJvm, is_libjvm};
use crate::unwind::memory::ProcessMemory;

mod counters;
mod malloc;

/// A pass over `smaps` is believed where `smaps_rollup` right behind it says the same within this share of a percent …
const AGREES: u64 = 200;
/// … or within this many bytes.
const AGREES_BYTES: u64 = 1 << 20;
/// Else it is read again, so often in all.
const PASSES: usize = 3;
/// Threads whose stack pointers are asked for; the stacks of others are known by their shape.
const MAX_POINTERS: usize = 8192;
/// As much as one of them has.
const MAX_STACK: u64 = 64 << 20;

/// Looks at one process, again and again. What does not change is read once.
pub struct Looker<'a> {
    process: &'a Process,
    memory: io::Result<ProcessMemory>,
    residence: Option<Residence>,
    jvm: Option<Result<Described, UnsupportedJvm>>,
    glibc: Option<Glibc>,
    begin: Instant,
}

impl<'a> Looker<'a> {
    pub fn new(process: &'a Process) -> Looker<'a> {
        Looker {
            process,
            memory: ProcessMemory::open(process.pid.0),
            residence: Residence::of(process).ok(),
            jvm: None,
            glibc: None,
            begin: Instant::now(),
        }
    }

    /// One look.
    ///
    /// # Errors
    /// When the process has ended, or its `smaps` may not be read.
    pub fn look(&mut self) -> io::Result<Reading> {
        let seconds = self.begin.elapsed().as_secs_f64();
        let (smaps, rollup_rss) = passes(self.process)?;
        let (threads, tids) = tasks::threads(self.process)?;
        let mut reading = Reading {
            seconds,
            mappings: smaps.mappings,
            ..Reading::default()
        };
        let facts = &mut reading.facts;
        (facts.rollup_rss, facts.threads) = (rollup_rss, threads);
        if smaps.truncated {
            facts
                .missing
                .push(format!("mappings beyond the first {}", smaps::MAX_MAPPINGS));
        }
        status(self.process, facts);
        facts.descriptors = tasks::descriptors(self.process);
        facts.cgroup = cgroup::read(self.process);
        self.java(&mut reading);
        self.stacks(&mut reading, &tids);
        self.malloc(&mut reading);
        self.pieces(&mut reading);
        Ok(reading)
    }

    /// The JVM's own word, where there is a JVM.
    fn java(&mut self, reading: &mut Reading) {
        let is_java = |mapping: &Mapping| mapping.name.ends_with("/libjvm.so");
        if !reading.mappings.iter().any(is_java) {
            return;
        }
        let memory = match &self.memory {
            Ok(memory) => memory,
            Err(error) => {
                reading
                    .facts
                    .missing
                    .push(format!("the JVM's memory can't be read: {error}"));
                return;
            }
        };
        if !matches!(self.jvm, Some(Ok(_))) {
            self.jvm = Some(describe(self.process, memory));
        }
        let mut claims = Claims::default();
        let mut jvm = match &self.jvm {
            Some(Ok(described)) => described.look(memory, &reading.mappings, &mut claims),
            Some(Err(reason)) => Jvm {
                unsupported: Some(reason.to_string()),
                ..Jvm::default()
            },
            None => Jvm::default(),
        };
        let range = self
            .jvm
            .as_ref()
            .and_then(|jvm| jvm.as_ref().ok()?.perf_data(memory));
        match counters::perf_data(self.process, memory, &reading.mappings, range) {
            Ok((data, source)) => counters::apply(&data, source, &mut jvm),
            Err(reason) => jvm.perf_data = reason,
        }
        jvm.environment = tasks::environment(self.process);
        reading.claims = claims;
        reading.facts.jvm = Some(jvm);
    }

    /// Stacks that waiting threads are on.
    fn stacks(&self, reading: &mut Reading, tids: &[Tid]) {
        for &tid in tids.iter().take(MAX_POINTERS) {
            let Some(pointer) = tasks::stack_pointer(self.process, tid) else {
                continue;
            };
            let at = reading
                .mappings
                .partition_point(|mapping| mapping.end <= pointer);
            let Some(mapping) = reading
                .mappings
                .get(at)
                .filter(|mapping| mapping.start <= pointer)
            else {
                continue;
            };
            // A larger one has been joined with something else, or is what a program uses for one.
            let fits = mapping.is_anonymous() && mapping.writable && mapping.len() <= MAX_STACK;
            if fits && reading.claims.at(pointer).is_none() {
                reading
                    .claims
                    .add(mapping.start, mapping.end, Kind::OtherStacks, false);
            }
        }
    }

    fn malloc(&mut self, reading: &mut Reading) {
        let memory = self.memory.as_ref().ok();
        malloc::malloc(memory, self.residence.as_ref(), &mut self.glibc, reading);
    }

    /// Mappings that several owners share are looked at page by page.
    fn pieces(&self, reading: &mut Reading) {
        let Some(residence) = &self.residence else {
            return;
        };
        for (start, end) in shared_pieces(reading) {
            reading
                .pieces
                .insert((start, end), residence.bytes(start, end));
        }
    }
}

/// Passes over `smaps` until one agrees with `smaps_rollup`: the process goes on meanwhile.
fn passes(process: &Process) -> io::Result<(Smaps, Option<u64>)> {
    let mut last = (Smaps::default(), None);
    for _ in 0..PASSES {
        let smaps = smaps::parse(BufReader::with_capacity(
            1 << 16,
            process.open_file("smaps")?,
        ))?;
        if smaps.mappings.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let rollup = text(process, "smaps_rollup").and_then(|text| smaps::rollup(&text));
        let sum = smaps.rss();
        last = (smaps, rollup);
        let Some(rollup) = rollup else { break };
        if sum.abs_diff(rollup) <= AGREES_BYTES.max(rollup / AGREES) {
            break;
        }
    }
    Ok(last)
}

fn text(process: &Process, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    process
        .open_file(name)
        .ok()?
        .take(64 << 10)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Page tables and swap.
fn status(process: &Process, facts: &mut Facts) {
    let text = text(process, "status").unwrap_or_default();
    let value = |key: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
        let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        number.checked_mul(1024)
    };
    facts.page_tables = value("VmPTE:").unwrap_or(0);
    facts.swap = value("VmSwap:").unwrap_or(0);
}

fn describe(process: &Process, memory: &ProcessMemory) -> Result<Described, UnsupportedJvm> {
    let mut table = ModuleTable::default();
    table
        .refresh(process.pid.0)
        .map_err(|_| UnsupportedJvm::Unreadable)?;
    let module = table.modules.iter().find(|module| is_libjvm(module));
    Described::read(memory, module.ok_or(UnsupportedJvm::Unreadable)?)
}
