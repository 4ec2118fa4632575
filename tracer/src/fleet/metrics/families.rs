//! The metrics of the whole process.

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::config::MAX_PAIRS;

use super::Moment;
use super::sheet::{Kind, Labels, Sheet, value};
use crate::capture::{Capture, Site, SiteKind};
use crate::fleet::push::Pushed;
use crate::report::accounting;
use crate::report::listing::kind_word;

/// Reasons of losses that are told; there are about ten.
const MAX_REASONS: usize = 32;

pub fn write(moment: Moment<'_>, sheet: &mut Sheet) {
    memory(moment.capture, sheet);
    totals(moment.capture, sheet);
    objects(moment.capture, sheet);
    losses(moment.capture, sheet);
    cost(moment, sheet);
    about(moment, sheet);
    if let Some(pushed) = moment.pushed {
        push(pushed, sheet);
    }
}

/// The kinds that these hooks can see, so that a row is there before its first allocation.
fn kinds(capture: &Capture) -> Vec<SiteKind> {
    let mut kinds: Vec<SiteKind> = capture.sites.iter().map(|site| site.kind).collect();
    for hook in &capture.settings.hooks {
        match hook.as_str() {
            "zlib" => kinds.extend([SiteKind::Deflate, SiteKind::Inflate]),
            "mmap" => kinds.push(SiteKind::Mmap),
            "malloc" => kinds.push(SiteKind::Malloc),
            "growth" => kinds.push(SiteKind::Fault),
            "pairs" => kinds.push(SiteKind::Pair),
            _ => {}
        }
    }
    kinds.sort();
    kinds.dedup();
    kinds
}

/// One row per kind that is wanted, with the sum of a field.
fn by_kind<'a>(
    capture: &'a Capture,
    wanted: fn(SiteKind) -> bool,
    field: fn(&Site) -> u64,
) -> impl Iterator<Item = (Labels, f64)> + 'a {
    let kinds = kinds(capture).into_iter().filter(move |kind| wanted(*kind));
    kinds.map(move |kind| {
        let sites = capture.sites.iter().filter(|site| site.kind == kind);
        let sum = sites.fold(0_u64, |sum, site| sum.saturating_add(field(site)));
        (vec![("kind", kind_word(kind).to_owned())], sum as f64)
    })
}

fn any(_: SiteKind) -> bool {
    true
}

fn stream(kind: SiteKind) -> bool {
    matches!(kind, SiteKind::Deflate | SiteKind::Inflate)
}

fn memory(capture: &Capture, sheet: &mut Sheet) {
    sheet.family(
        Kind::Gauge,
        "offheap_outstanding_bytes",
        "Bytes allocated since the attach and not freed; what a stream holds is also malloc",
        by_kind(capture, any, |site| site.outstanding_bytes),
    );
    sheet.family(
        Kind::Gauge,
        "offheap_outstanding_allocations",
        "Blocks, regions or streams made since the attach and not freed",
        by_kind(capture, any, |site| site.outstanding_count),
    );
    sheet.family(
        Kind::Gauge,
        "offheap_open_streams",
        "Deflaters and Inflaters opened since the attach and not ended",
        by_kind(capture, stream, |site| site.outstanding_count),
    );
    sheet.single(
        Kind::Gauge,
        "offheap_tracked_bytes",
        "Outstanding bytes of all kinds, each byte once",
        capture.memory.outstanding_bytes as f64,
    );
    sheet.single(
        Kind::Gauge,
        "offheap_target_resident_memory_bytes",
        "Resident memory of the target",
        capture.memory.rss_end as f64,
    );
}

fn totals(capture: &Capture, sheet: &mut Sheet) {
    // What a stream asked for in all is not known apart.
    sheet.family(
        Kind::Counter,
        "offheap_allocated_bytes",
        "Bytes allocated since the attach",
        by_kind(capture, |kind| !stream(kind), |site| site.allocated_bytes),
    );
    sheet.family(
        Kind::Counter,
        "offheap_allocations",
        "Blocks, regions or streams made since the attach",
        by_kind(capture, any, |site| site.allocated_count),
    );
    sheet.family(
        Kind::Counter,
        "offheap_freed_bytes",
        "Bytes allocated since the attach and freed",
        by_kind(
            capture,
            |kind| kind == SiteKind::Malloc,
            |site| site.allocated_bytes.saturating_sub(site.outstanding_bytes),
        ),
    );
    sheet.family(
        Kind::Counter,
        "offheap_frees",
        "Blocks, regions or streams made since the attach and freed",
        by_kind(capture, any, |site| site.freed_count),
    );
    sheet.family(
        Kind::Counter,
        "offheap_freed_by_cleaner",
        "Of the freed, those that the JVM's cleaner or finalizer thread freed",
        by_kind(capture, any, |site| site.freed_by_cleaner),
    );
}

/// The pairs that can be seen, so that a row is there before the first object.
fn pairs(capture: &Capture) -> BTreeSet<&str> {
    let functions = capture.functions.iter().filter(|f| f.error.is_none());
    let hooked = functions.filter_map(|f| f.pair.as_deref());
    let opened = capture.sites.iter().filter_map(|site| site.pair.as_deref());
    hooked.chain(opened).collect()
}

fn by_pair<'a>(
    capture: &'a Capture,
    field: fn(&Site) -> u64,
) -> impl Iterator<Item = (Labels, f64)> + 'a {
    pairs(capture)
        .into_iter()
        .take(MAX_PAIRS as usize)
        .map(move |pair| {
            let sites = capture.sites.iter();
            let sites = sites.filter(|site| site.pair.as_deref() == Some(pair));
            let sum = sites.fold(0_u64, |sum, site| sum.saturating_add(field(site)));
            (vec![("pair", value(pair))], sum as f64)
        })
}

fn objects(capture: &Capture, sheet: &mut Sheet) {
    sheet.family(
        Kind::Gauge,
        "offheap_open_objects",
        "Objects of a pair of functions opened since the attach and not closed",
        by_pair(capture, |site| site.outstanding_count),
    );
    sheet.family(
        Kind::Gauge,
        "offheap_open_objects_bytes",
        "What opening these objects took of malloc and is still there; also part of malloc",
        by_pair(capture, |site| site.outstanding_bytes),
    );
    sheet.family(
        Kind::Counter,
        "offheap_opened_objects",
        "Objects of a pair of functions opened since the attach",
        by_pair(capture, |site| site.allocated_count),
    );
    sheet.family(
        Kind::Counter,
        "offheap_closed_objects",
        "Objects of a pair of functions opened since the attach and closed",
        by_pair(capture, |site| site.freed_count),
    );
}

fn losses(capture: &Capture, sheet: &mut Sheet) {
    let reasons = capture.losses.iter().take(MAX_REASONS);
    sheet.family(
        Kind::Counter,
        "offheap_losses",
        "What is known to be missing",
        reasons.map(|(reason, count)| (vec![("reason", value(reason))], *count as f64)),
    );
    let all: u64 = capture.losses.values().sum();
    sheet.single(
        Kind::Counter,
        "offheap_lost",
        "Everything that is known to be missing, of any reason",
        all as f64,
    );
    let stacks = &capture.completeness;
    sheet.single(
        Kind::Counter,
        "offheap_stacks",
        "Stacks taken",
        stacks.stacks as f64,
    );
    sheet.single(
        Kind::Counter,
        "offheap_stacks_complete",
        "Stacks that reached the thread's root",
        stacks.complete as f64,
    );
}

fn cost(moment: Moment<'_>, sheet: &mut Sheet) {
    let tracer = &moment.capture.tracer;
    let mut counter = |name, help, value| sheet.single(Kind::Counter, name, help, value);
    counter(
        "offheap_tracer_cpu_seconds",
        "CPU time of offheap itself",
        tracer.cpu_seconds,
    );
    counter(
        "offheap_probe_hits",
        "Traps taken by the target",
        tracer.probe_hits as f64,
    );
    counter(
        "offheap_budget_steps",
        "Things given up to stay within the budget",
        tracer.budget.steps.len() as f64,
    );
    if let Some(seconds) = accounting::tracing_seconds(moment.capture) {
        counter(
            "offheap_tracing_cpu_seconds",
            "CPU time that tracing took from the target: traps at their measured cost, and programs",
            seconds,
        );
    }
    let mut gauge = |name, help, value| sheet.single(Kind::Gauge, name, help, value);
    gauge(
        "offheap_tracer_resident_memory_peak_bytes",
        "Highest resident memory of offheap itself",
        tracer.max_rss as f64,
    );
    gauge(
        "offheap_tracing_overhead_peak_ratio",
        "Highest cost of tracing in a quarter of a second, of the target's CPU time",
        tracer.budget.peak_percent / 100.0,
    );
    if let Some(percent) = tracer.budget.percent {
        gauge(
            "offheap_budget_ratio",
            "What tracing may cost, of the target's CPU time",
            percent / 100.0,
        );
    }
    gauge(
        "offheap_sampling_interval_bytes",
        "Mean distance of two samples of malloc now; 0 is exact",
        moment.sample_bytes as f64,
    );
}

fn about(moment: Moment<'_>, sheet: &mut Sheet) {
    let capture = moment.capture;
    sheet.family(
        Kind::Gauge,
        "offheap_build_info",
        "The version of offheap",
        [(vec![("version", value(&capture.tool.version))], 1.0)],
    );
    let target = &capture.target;
    let mut labels = vec![
        ("pid", target.pid.to_string()),
        ("comm", value(&target.comm)),
    ];
    if let Some(jvm) = &target.jvm {
        labels.push(("jvm", value(&jvm.name)));
        labels.push(("jvm_version", value(&jvm.version)));
    }
    sheet.family(
        Kind::Gauge,
        "offheap_target_info",
        "The process that is watched",
        [(labels, 1.0)],
    );
    let mut gauge = |name, help, value| sheet.single(Kind::Gauge, name, help, value);
    gauge(
        "offheap_window_seconds",
        "Time since the attach",
        capture.window.seconds,
    );
    gauge(
        "offheap_snapshot_duration_seconds",
        "Time that the snapshot behind these numbers took",
        moment.took.as_secs_f64(),
    );
    let outcomes: BTreeMap<&str, u64> = [
        ("written", moment.bundles.written),
        ("failed", moment.bundles.failed),
    ]
    .into();
    sheet.family(
        Kind::Counter,
        "offheap_bundles",
        "Bundles on disk by what became of them",
        outcomes
            .into_iter()
            .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count as f64)),
    );
}

fn push(pushed: Pushed, sheet: &mut Sheet) {
    let outcomes = [
        ("sent", pushed.sent),
        ("retried", pushed.retried),
        ("refused", pushed.refused),
        ("dropped", pushed.dropped),
    ];
    sheet.family(
        Kind::Counter,
        "offheap_pushes",
        "Profiles to push, by what became of them; those dropped had no room in the spool",
        outcomes.map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count as f64)),
    );
    let mut gauge = |name, help, value: u64| sheet.single(Kind::Gauge, name, help, value as f64);
    gauge(
        "offheap_push_spool_profiles",
        "Profiles that wait to be pushed",
        pushed.spooled,
    );
    gauge(
        "offheap_push_spool_bytes",
        "Bytes of the profiles that wait to be pushed",
        pushed.spooled_bytes,
    );
}
