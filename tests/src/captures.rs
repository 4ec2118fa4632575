//! Captures that no process made: of any size, and with names that mean harm.

use std::sync::Arc;

use offheap::capture::{
    Ages, Capture, Frame, FrameKind, Owner, Series, Site, SiteKind, SiteSeries, Trend, TrendClass,
};
use offheap::report::json;

/// A written capture, whose head the others take.
const SERVER: &str = include_str!("../../tracer/tests/golden/server.json");
/// Readings over time, and the sites that have a series of their own.
const READINGS: usize = 60;
const WITH_SERIES: usize = 50;

/// The capture that the golden files are made from.
pub fn server() -> Capture {
    json::parse(SERVER.as_bytes()).expect("the golden capture is one")
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    /// Below `sides`. The generator is Knuth's MMIX; its high bits are good enough for test data.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A capture with `sites` sites of some 100 allocations each, whose stacks share their roots as those of a server do.
pub fn many(sites: usize) -> Capture {
    let mut dice = Dice(7);
    let mut capture = server();
    let callers = callers(sites, &mut dice);
    capture.sites = callers
        .into_iter()
        .map(|callers| site(callers, &mut dice))
        .collect();
    capture
        .sites
        .sort_by_key(|site| std::cmp::Reverse(site.outstanding_bytes));
    let total = capture.sites.iter().filter(|site| counted(site));
    let total = total.map(|site| site.outstanding_bytes).sum();
    capture.memory.outstanding_bytes = total;
    capture.series = Some(series(total, sites));
    for (rank, site) in capture.sites.iter_mut().take(WITH_SERIES).enumerate() {
        add_series(site, rank);
    }
    capture
}

/// The rule of `accounting` for the hooks of this capture.
fn counted(site: &Site) -> bool {
    matches!(site.kind, SiteKind::Malloc | SiteKind::Mmap)
}

fn frame(
    name: String,
    kind: FrameKind,
    module: Option<&str>,
    file: String,
    line: u64,
) -> Arc<Frame> {
    Arc::new(Frame {
        name,
        kind,
        module: module.map(str::to_owned),
        file: Some(file),
        line: u32::try_from(line).ok(),
        reason: None,
    })
}

/// Java frames below the allocation, root first, each stack grown from an earlier one.
fn callers(sites: usize, dice: &mut Dice) -> Vec<Vec<Arc<Frame>>> {
    let native = |name: &str, module| {
        let (name, file) = (name.to_owned(), "thread.cpp".to_owned());
        frame(name, FrameKind::Native, Some(module), file, 7)
    };
    let root = vec![
        native("start_thread", "libc.so.6"),
        native("JavaCalls::call_helper", "libjvm.so"),
    ];
    let mut stacks: Vec<Vec<Arc<Frame>>> = vec![root];
    while stacks.len() <= sites {
        let from = stacks.len().saturating_sub(2_000) as u64;
        let mut stack = stacks[(from + dice.roll(stacks.len() as u64 - from)) as usize].clone();
        if stack.len() > 34 {
            stack.truncate(8);
        }
        for _ in 0..=dice.roll(8) {
            stack.push(java(dice));
        }
        stacks.push(stack);
    }
    stacks.split_off(1)
}

fn java(dice: &mut Dice) -> Arc<Frame> {
    const KINDS: [FrameKind; 4] = [
        FrameKind::C2,
        FrameKind::C1,
        FrameKind::Interpreted,
        FrameKind::Inlined,
    ];
    let class = dice.roll(2_000);
    let name = format!("com.acme.m{}.Class{class}.step{}", class % 40, dice.roll(5));
    let kind = KINDS[dice.roll(4) as usize];
    frame(
        name,
        kind,
        None,
        format!("Class{class}.java"),
        1 + dice.roll(300),
    )
}

fn site(callers: Vec<Arc<Frame>>, dice: &mut Dice) -> Site {
    let (kind, leaf, module) = match dice.roll(10) {
        0 => (SiteKind::Mmap, "mmap", "libc.so.6"),
        1 => (SiteKind::Deflate, "deflateInit2_", "libz.so.1.2.13"),
        _ => (SiteKind::Malloc, "malloc", "libc.so.6"),
    };
    let file = format!("{leaf}.c");
    let leaf = frame(leaf.to_owned(), FrameKind::Native, Some(module), file, 99);
    let count = 50 + dice.roll(101);
    let bytes = count * (16 << dice.roll(16)) + dice.roll(1_000);
    let ages = |dice: &mut Dice| (0..1 + dice.roll(20)).map(|_| dice.roll(30)).collect();
    Site {
        kind,
        estimated: kind == SiteKind::Malloc,
        outstanding_bytes: bytes,
        outstanding_count: count,
        pair: None,
        recorded_bytes: bytes,
        recorded_count: count,
        allocated_bytes: bytes * 3,
        allocated_count: count * 3,
        oldest_seconds: dice.roll(600_000) as f64 / 1000.0,
        newest_seconds: dice.roll(1_000) as f64 / 1000.0,
        freed_by_cleaner: 0,
        growth_bytes: None,
        freed_count: count * 2,
        owner: (kind == SiteKind::Mmap).then_some(Owner::Other),
        reserved_bytes: 0,
        blocks: 0,
        thread: None,
        stack_end: "root".to_owned(),
        series: None,
        trend: None,
        ages: Some(Ages {
            outstanding: ages(dice),
            freed: ages(dice),
        }),
        frames: std::iter::once(leaf)
            .chain(callers.into_iter().rev())
            .collect(),
    }
}

fn series(total: u64, sites: usize) -> Series {
    let steps = 0..=READINGS as u64;
    let part = |step: u64| total / READINGS as u64 * step;
    let last = |values: Vec<u64>| {
        let kept = values.len() - 1;
        values.into_iter().take(kept).chain([total]).collect()
    };
    Series {
        seconds: steps.clone().map(|step| step as f64 / 2.0).collect(),
        rss: steps
            .clone()
            .map(|step| (1 << 30) + part(step) * 5 / 4)
            .collect(),
        outstanding: last(steps.map(part).collect()),
        sites_with: WITH_SERIES.min(sites) as u64,
        sites_without: sites.saturating_sub(WITH_SERIES) as u64,
        ..Series::default()
    }
}

/// Every third site grows, every third stays, every third goes up and down.
fn add_series(site: &mut Site, rank: usize) {
    let end = site.outstanding_bytes;
    let at = |step: u64| match rank % 3 {
        0 => end / READINGS as u64 * step,
        1 => end,
        _ => end / 12 * (step % 12 + 1),
    };
    let mut bytes: Vec<u64> = (0..=READINGS as u64).map(at).collect();
    if let Some(last) = bytes.last_mut() {
        *last = end;
    }
    let count = vec![site.outstanding_count; bytes.len()];
    site.series = Some(SiteSeries { bytes, count });
    let classes = [
        TrendClass::Growing,
        TrendClass::Plateau,
        TrendClass::Sawtooth,
    ];
    site.trend = Some(Trend {
        class: Some(classes[rank % 3]),
        points: 40,
        seconds: 20.0,
        bytes_per_hour: end as f64 * 120.0,
        low: end as f64 * 110.0,
        high: end as f64 * 130.0,
        p: 0.0004,
        rising: 0.97,
        ..Trend::default()
    });
}

/// Names that would be markup, script, the end of a script or a template, where they were not text.
pub const HOSTILE: [&str; 7] = [
    "</script><script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<!--<script>",
    "\"'><svg onload=pwned=1>",
    "]]>&lt;b&gt;&amp;",
    "${pwned=1}`\\u003cb\\u003e",
    "\u{202e}txt.exe\u{1b}[31m\u{2028}",
];

/// The capture of the golden files with a hostile name at every place where the target chooses one.
pub fn hostile() -> Capture {
    let mut capture = server();
    for (at, site) in capture.sites.iter_mut().enumerate() {
        for (frame, name) in site.frames.iter_mut().zip(HOSTILE.iter().cycle().skip(at)) {
            let frame = Arc::make_mut(frame);
            frame.name = (*name).to_owned();
            frame.file = Some((*name).to_owned());
            frame.module = frame.module.as_ref().map(|_| (*name).to_owned());
        }
        site.thread = Some(HOSTILE[at % HOSTILE.len()].to_owned());
        site.stack_end = HOSTILE[(at + 1) % HOSTILE.len()].to_owned();
    }
    let end = HOSTILE[0].to_owned();
    capture.target.comm.clone_from(&end);
    capture.target.cmdline = HOSTILE.map(str::to_owned).to_vec();
    capture.window.start.clone_from(&end);
    capture.notes = HOSTILE.map(str::to_owned).to_vec();
    capture
}
