//! The budget: what would cost the target more is left off, or given up, and the report says so before anything else.

use std::process::Command;

use offheap::capture::{Capture, SiteKind, Watched};
use offheap_tests::checks::functions;
use offheap_tests::{
    CFlags, Target, Tool, assert_conserved, c_program, session, sites_through, sum,
};

/// Bytes of a block of `at_kept`.
const BIG: f64 = 1_048_583.0;

fn pace() -> Target {
    Target::start(&mut Command::new(c_program("pace", CFlags::default())))
}

/// Sets a pace; the storm's allocations so far.
fn set(target: &mut Target, pace: &str) -> u64 {
    target.say(pace);
    target.await_value("count ").parse().expect("a count")
}

/// Waits until the storm has gone on for so many allocations, and returns how many there were before.
fn go_on(target: &mut Target, allocations: u64) -> u64 {
    let before = set(target, "ask");
    while set(target, "ask") < before + allocations {}
    before
}

fn watched<'a>(capture: &'a Capture, group: &str) -> &'a Watched {
    let mut all = capture.tracer.budget.watched.iter();
    all.find(|watched| watched.group == group)
        .expect("it was asked for")
}

/// Calls of `malloc` that took a trap.
fn trapped(capture: &Capture) -> u64 {
    let malloc = functions(capture, "malloc");
    malloc
        .iter()
        .map(|function| function.seen + function.counted)
        .sum()
}

/// The report's first line.
fn verdict(stdout: &[String]) -> &str {
    stdout.first().map(String::as_str).unwrap_or_default()
}

/// A storm that is there at the attach is counted, never recorded, and soon takes no trap any more; zlib and mmap are
/// recorded all the same.
#[test]
fn a_storm_is_left_off() {
    let Some(_session) = session() else { return };
    let mut target = pace();
    set(&mut target, "storm");
    let tool = Tool::capture(target.pid(), &["--max-overhead", "5"]);
    let told = tool.stderr();
    assert!(
        told.iter()
            .any(|line| line.starts_with("malloc is left off: ")),
        "{told:#?}"
    );
    let before = go_on(&mut target, 2_000_000);
    let finished = tool.interrupted();
    let capture = finished.capture();
    let malloc = functions(&capture, "malloc");
    assert!(
        malloc.iter().all(|function| function.seen == 0),
        "{malloc:#?}"
    );
    let all = set(&mut target, "calm");
    assert!(
        trapped(&capture) < before + (all - before) / 2,
        "{malloc:#?}"
    );
    let malloc = watched(&capture, "malloc");
    assert_eq!(malloc.until_seconds, Some(malloc.from_seconds));
    assert_eq!(watched(&capture, "zlib").until_seconds, None);
    assert_eq!(watched(&capture, "mmap").until_seconds, None);
    assert!(
        verdict(&finished.stdout).starts_with("malloc was not recorded"),
        "{:#?}",
        finished.stdout
    );
}

/// A preset that is called too often is left off alone, with the reason and the flag that forces it: none of its objects is
/// shown, the others of the group are still counted, and most of the storm takes no trap.
#[test]
fn a_dear_preset_is_left_off() {
    let Some(_session) = session() else { return };
    let mut target = pace();
    set(&mut target, "files");
    let tool = Tool::capture(target.pid(), &["--hooks", "pairs", "--max-overhead", "5"]);
    let told = tool.stderr();
    let left_off = told
        .iter()
        .find(|line| line.starts_with("preset `file` is left off: "));
    let left_off = left_off.unwrap_or_else(|| panic!("{told:#?}"));
    assert!(
        left_off.ends_with("; --max-overhead none forces it"),
        "{left_off}"
    );
    let before = go_on(&mut target, 200_000);
    let finished = tool.interrupted();
    let capture = finished.capture();
    let all = set(&mut target, "calm");
    let closed = functions(&capture, "fclose");
    let trapped: u64 = closed.iter().map(|f| f.seen + f.counted).sum();
    assert!(trapped < before + (all - before) / 2, "{closed:#?}");
    assert!(
        closed.iter().all(|function| function.seen == 0),
        "{closed:#?}"
    );
    assert_eq!(capture.sites.len(), 0, "{:#?}", capture.sites);
    let preset = watched(&capture, "preset `file`");
    assert_eq!(preset.until_seconds, Some(preset.from_seconds));
    assert_eq!(watched(&capture, "pairs").until_seconds, None);
    assert!(
        verdict(&finished.stdout).starts_with("preset `file` was not recorded"),
        "{:#?}",
        finished.stdout
    );
}

/// The same of one that is called too often later: what it has open by then is still reported.
#[test]
fn a_dear_preset_is_given_up() {
    let Some(_session) = session() else { return };
    let mut target = pace();
    let tool = Tool::capture(target.pid(), &["--hooks", "pairs", "--max-overhead", "5"]);
    set(&mut target, "files");
    tool.await_stderr("the preset given up", |line| {
        line.starts_with("preset `file` is given up: ")
    });
    go_on(&mut target, 200_000);
    let finished = tool.interrupted();
    let (capture, all) = (finished.capture(), set(&mut target, "calm"));
    let closed = functions(&capture, "fclose");
    let trapped: u64 = closed.iter().map(|f| f.seen + f.counted).sum();
    assert!(
        closed.iter().any(|function| function.seen > 0),
        "{closed:#?}"
    );
    assert!(trapped < all, "{closed:#?}");
    let preset = watched(&capture, "preset `file`");
    assert!(
        preset.until_seconds.is_some_and(|until| until > 0.0),
        "{preset:?}"
    );
    assert_conserved(&capture);
}

/// A storm that begins later is noticed: malloc is given up, the calls before that are all accounted for, and most of the
/// storm takes no trap.
#[test]
fn a_later_storm_is_given_up() {
    let Some(_session) = session() else { return };
    let mut target = pace();
    let tool = Tool::capture(target.pid(), &["--max-overhead", "5"]);
    set(&mut target, "keep 3");
    set(&mut target, "storm");
    tool.await_stderr("malloc given up", |line| {
        line.starts_with("malloc is given up: ")
    });
    go_on(&mut target, 5_000_000);
    let finished = tool.interrupted();
    let (capture, all) = (finished.capture(), set(&mut target, "calm"));
    assert_conserved(&capture);
    assert!(
        trapped(&capture) < all / 2,
        "{} of {all}",
        trapped(&capture)
    );
    let malloc = watched(&capture, "malloc");
    let until = malloc.until_seconds.expect("it was given up");
    assert!(
        malloc.from_seconds < until && until < capture.window.seconds,
        "{malloc:?}"
    );
    let kept = sum(&sites_through(&capture, SiteKind::Malloc, "at_kept"));
    assert_eq!(
        kept.outstanding_count, 3,
        "what was outstanding then is reported"
    );
    assert!(
        verdict(&finished.stdout).starts_with("malloc was recorded for the first"),
        "{:#?}",
        finished.stdout
    );
}

/// Budgets in percent between what the calls of `big` cost when all are recorded and what their traps alone cost; where
/// that is depends on the machine, and the two are a factor of three apart.
const BETWEEN: [f64; 3] = [1.9, 2.85, 4.3];

/// A target whose malloc turned out too dear to be recorded as it was, and not too dear to be sampled wider, and the
/// trace of it. Seven blocks were kept before that.
fn widened() -> (Target, Tool) {
    for percent in BETWEEN {
        let mut target = pace();
        let tool = Tool::capture(
            target.pid(),
            &[
                "--max-overhead",
                &percent.to_string(),
                "--sample-bytes",
                "64k",
            ],
        );
        set(&mut target, "keep 7");
        set(&mut target, "big");
        let step = tool.await_stderr("a step", |line| {
            line.starts_with("malloc is sampled every ") || line.starts_with("malloc is given up: ")
        });
        if step.starts_with("malloc is sampled every ") {
            return (target, tool);
        }
    }
    panic!("malloc was given up, whatever the budget");
}

/// Where recording is what costs, the interval is widened and malloc is kept; what is sampled from then on is weighted by
/// the new interval, and what was before by the old one.
#[test]
fn sampling_is_widened_before_malloc_is_given_up() {
    let Some(_session) = session() else { return };
    let (mut target, tool) = widened();
    set(&mut target, "calm");
    const KEPT: f64 = 2_000.0;
    set(&mut target, "keep 2000");
    let capture = tool.finish();
    assert_conserved(&capture);
    assert_eq!(
        watched(&capture, "malloc").until_seconds,
        None,
        "{:?}",
        capture.tracer.budget
    );
    let got = sum(&sites_through(&capture, SiteKind::Malloc, "at_kept"));
    // At the widest interval p is 0.0155; five standard errors of the count are then 1,780.
    let (p, truth) = (1.0 - (-BIG / (64.0 * BIG)).exp(), KEPT + 7.0);
    let error = (KEPT * (1.0 - p) / p).sqrt();
    let off = (got.outstanding_count as f64 - truth).abs() / error;
    assert!(off < 5.0, "{got:?} is {off} standard errors off");
    assert!(
        got.outstanding_count >= 7,
        "the first ones were all kept: {got:?}"
    );
}

/// A calm target is recorded from the preflight to the end, and no step is taken.
#[test]
fn a_calm_target_keeps_everything() {
    let Some(_session) = session() else { return };
    let mut target = pace();
    let tool = Tool::capture(target.pid(), &["--max-overhead", "5"]);
    set(&mut target, "keep 11");
    let capture = tool.finish();
    let budget = &capture.tracer.budget;
    assert!(budget.steps.is_empty(), "{budget:?}");
    assert_eq!(budget.percent, Some(5.0));
    assert!(
        budget
            .watched
            .iter()
            .all(|watched| watched.until_seconds.is_none()),
        "{budget:?}"
    );
    let kept = sum(&sites_through(&capture, SiteKind::Malloc, "at_kept"));
    assert_eq!(
        (kept.outstanding_count, kept.outstanding_bytes),
        (11, 11 * BIG as u64)
    );
}
