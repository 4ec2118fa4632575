//! From a tally to a capture: names for everything.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;

use super::Trace;
use super::merge::merge;
use super::tally::Tally;
use crate::capture::{self, Capture, Host, Memory, SCHEMA, SiteKind, Tool, Window};
use crate::ledger::SiteId;
use crate::readings;
use crate::report::accounting;
use crate::snapshot::SiteSnapshot;
use crate::symbolize::{self, MethodNames, Namer, PerfMap, Sources};
use crate::target::modules::ModuleTable;
use crate::target::text;

impl Trace {
    pub(super) fn present(&mut self, tally: Tally) -> Result<Capture> {
        self.look_at_threads();
        let mut completeness = self.completeness();
        let perf_map = self.perf_map();
        let mut sites = self.sites(&tally, perf_map.as_ref(), &mut completeness);
        self.place_ends(perf_map.as_ref(), &mut completeness);
        let settings: capture::Settings = (&self.settings).into();
        let series = self.series(&tally, &mut sites, &settings.hooks);
        let outstanding_bytes = accounting::outstanding_bytes(&sites, &settings.hooks);
        let end = Timestamp::now();
        let mut notes = self.notes.clone();
        notes.extend(self.names.notes(&self.modules));
        notes.extend(self.doubts(&tally.counts));
        Ok(Capture {
            schema: SCHEMA.to_owned(),
            tool: Tool {
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            host: host(),
            target: self.target(),
            window: Window {
                start: self.start.time.to_string(),
                end: end.to_string(),
                seconds: end.duration_since(self.start.time).as_secs_f64(),
            },
            settings,
            functions: self.functions(&tally),
            modules: named_modules(&sites, &self.modules),
            memory: Memory {
                rss_start: self.start.rss,
                rss_end: self.rss,
                outstanding_bytes,
                ..Memory::default()
            },
            sites,
            losses: self.losses(&tally),
            completeness,
            tracer: self.tracer(&tally),
            notes,
            series: Some(series),
        })
    }

    /// The readings so far, and this one.
    fn series(
        &self,
        tally: &Tally,
        sites: &mut [capture::Site],
        hooks: &[String],
    ) -> capture::Series {
        let (so_far, last) = (&self.course.readings, &tally.reading);
        let mut seconds = so_far.seconds.clone();
        let mut rss = so_far.rss.clone();
        seconds.push(last.seconds);
        rss.push(last.rss);
        let rest = so_far.rest(last, &self.accounts.ledger.sites);
        readings::finish(seconds, rss, rest, sites, hooks)
    }

    fn target(&self) -> capture::Target {
        capture::Target {
            pid: self.process.pid.0,
            comm: self.process.comm.clone(),
            cmdline: self
                .process
                .cmdline
                .iter()
                .map(|word| text::printable(word.as_bytes()))
                .collect(),
            jvm: self.jvm(),
            ended: self.process.ended(),
            start_ticks: self.process.start_ticks,
            oom_kill: self.oom_kill(),
        }
    }

    /// Names of code that another JIT compiler wrote down; a JVM's are read from itself.
    fn perf_map(&mut self) -> Option<PerfMap> {
        if self.jvm().is_some() {
            return None;
        }
        PerfMap::of(self.process.pid.0 as i32).ok().flatten()
    }

    fn sites(
        &mut self,
        tally: &Tally,
        perf_map: Option<&PerfMap>,
        completeness: &mut capture::Completeness,
    ) -> Vec<capture::Site> {
        let methods = self.accounts.unwinder.methods();
        let sources = Sources {
            modules: &self.modules,
            methods,
            method_names: &MethodNames::new(methods),
            perf_map,
        };
        let sites = &tally.snapshot.sites;
        let before = std::mem::replace(
            &mut self.outstanding_before,
            sites.iter().map(held_bytes).collect(),
        );
        let mut namer = Namer::new(sources, &mut self.names);
        namer.resolve(sites.iter().map(|site| site.stack.as_ref()));
        let mut named = Vec::with_capacity(sites.len());
        for (index, site) in sites.iter().enumerate() {
            let stack = namer.name(&site.stack);
            completeness.frames += stack.total;
            completeness.symbolized_frames += stack.symbolized;
            let thread = site.thread.map(|thread| self.threads.label(thread));
            let mut named_site = capture_site(site, stack.frames, thread, tally.now);
            // Sites keep their index; one that is new has grown from nothing.
            named_site.growth_bytes = (!before.is_empty())
                .then(|| held_bytes(site) - before.get(index).copied().unwrap_or(0));
            let id = SiteId(index as u32);
            named_site.series = self.course.readings.of(id, &tally.reading);
            named.push(named_site);
        }
        for (named, site) in named.iter_mut().zip(sites) {
            named.pair = self.pair_name(site.pair);
        }
        merge(named)
    }
}

fn capture_site(
    site: &SiteSnapshot,
    frames: Vec<Arc<capture::Frame>>,
    thread: Option<String>,
    now: u64,
) -> capture::Site {
    let held = &site.outstanding;
    let age = |time: Option<u64>| time.map_or(0.0, |time| now.saturating_sub(time) as f64 / 1e9);
    let bytes = |bytes: f64| bytes.round() as u64;
    // A stream is charged with what it held while it was open; what it asked for in all is not known apart.
    let allocated = match site.kind {
        SiteKind::Deflate | SiteKind::Inflate | SiteKind::Pair => held.bytes,
        // Where the events were lost, what is outstanding is all that is known to have been allocated.
        SiteKind::Malloc | SiteKind::Mmap | SiteKind::Fault => {
            site.totals.allocated_bytes.max(held.bytes)
        }
    };
    capture::Site {
        kind: site.kind,
        pair: None,
        estimated: held.estimated,
        outstanding_bytes: bytes(held.bytes),
        outstanding_count: bytes(held.count),
        recorded_bytes: held.recorded_bytes,
        recorded_count: held.recorded_count,
        allocated_bytes: bytes(allocated),
        allocated_count: bytes(site.totals.allocated_count).max(bytes(held.count)),
        oldest_seconds: age(held.oldest),
        newest_seconds: age(held.newest),
        freed_by_cleaner: bytes(site.totals.freed_by_cleaner),
        growth_bytes: None,
        freed_count: bytes(site.totals.freed_count),
        owner: (site.kind == SiteKind::Mmap).then(|| symbolize::owner(&frames)),
        reserved_bytes: held.reserved,
        blocks: held.blocks,
        thread,
        stack_end: site.stack.end.as_str().to_owned(),
        series: None,
        trend: None,
        ages: Some(capture::Ages {
            outstanding: held.ages.counts(),
            freed: site
                .lifetimes
                .as_ref()
                .map(|ages| ages.counts())
                .unwrap_or_default(),
        }),
        frames,
    }
}

/// The files that the frames name.
fn named_modules(sites: &[capture::Site], modules: &ModuleTable) -> Vec<capture::Module> {
    let frames = sites.iter().flat_map(|site| &site.frames);
    let wanted: HashSet<&str> = frames.filter_map(|frame| frame.module.as_deref()).collect();
    let mut named: BTreeMap<String, capture::Module> = BTreeMap::new();
    for module in &modules.modules {
        let name = symbolize::file_name(module);
        if !wanted.contains(name.as_str()) {
            continue;
        }
        let path = text::printable(module.path.as_os_str().as_bytes());
        let known = named
            .entry(name.clone())
            .or_insert_with(|| capture::Module {
                name,
                path,
                build_id: module.build_id.clone(),
            });
        if known.build_id != module.build_id {
            known.build_id = None;
        }
    }
    named.into_values().collect()
}

fn held_bytes(site: &SiteSnapshot) -> i64 {
    site.outstanding.bytes.round() as i64
}

fn host() -> Host {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Host {
        kernel: kernel.trim().to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
    }
}
