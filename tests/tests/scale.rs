//! Many of everything: allocations a second, outstanding blocks, threads, stacks. What is outstanding is exact to the last
//! digit, and what could not be kept up with is said.

use std::process::Command;

use offheap::capture::{Capture, Site, SiteKind};
use offheap_tests::checks::describe;
use offheap_tests::session::is_full;
use offheap_tests::{
    CFlags, Sum, Target, Tool, Truth, assert_conserved, assert_exact, c_program, session,
    sites_through, sum,
};

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];

/// `program`, with `arguments`.
fn target(program: &str, arguments: &[&str]) -> Target {
    Target::start(Command::new(c_program(program, CFlags::default())).args(arguments))
}

/// Allocates `milliseconds` long at `rate` per second, and tells the truth.
fn made(target: &mut Target, rate: u32, milliseconds: u32) -> Truth {
    target.say(&format!("{rate} {milliseconds}"));
    target.await_value("made ");
    target.say("end");
    let mut truths = target.await_word("done");
    truths.pop().expect("the target tells the truth")
}

fn ended<'a>(capture: &'a Capture, end: &str) -> Vec<&'a Site> {
    let ended = |site: &&Site| site.kind == SiteKind::Malloc && site.stack_end == end;
    capture.sites.iter().filter(ended).collect()
}

/// What is known of all blocks of a target that allocates in one function alone: with their stacks, and without.
fn whole(capture: &Capture, function: &str) -> Sum {
    let mut sites = sites_through(capture, SiteKind::Malloc, function);
    sites.extend(ended(capture, "lost"));
    sites.extend(ended(capture, "not-kept"));
    sum(&sites)
}

fn loss(capture: &Capture, name: &str) -> u64 {
    capture.losses.get(name).copied().unwrap_or(0)
}

/// A burst beyond what can be taken costs stacks, and says how many: each allocation has its stack or is counted as one
/// that has lost it, and what is outstanding is exact.
#[test]
fn a_burst_costs_stacks_and_no_byte() {
    let Some(_session) = session() else { return };
    let mut target = target("bench_exact", &["2", "64", "160", "1024"]);
    // Room for four stacks: no machine fetches each in time.
    let flags = [&EXACT[..], &["--ring-bytes", "128k"]].concat();
    let tool = Tool::capture(target.pid(), &flags);
    let truth = made(&mut target, 60_000, 500);
    let finished = tool.interrupted();
    let capture = finished.capture();
    assert_conserved(&capture);
    let got = whole(&capture, "at_exact");
    assert_eq!(
        (Some(got.outstanding_bytes), Some(got.outstanding_count)),
        (truth.outstanding_bytes, truth.outstanding_count),
        "{}",
        describe(&capture)
    );
    let lost = loss(&capture, "stack lost: ring full");
    assert!(lost > 0, "{:?}", capture.losses);
    assert_eq!(
        Some(capture.completeness.stacks + lost),
        truth.allocated_count,
        "{:?}",
        capture.losses
    );
    let said = |line: &String| line.contains("stack lost: ring full");
    assert!(finished.stdout.iter().any(said), "{:#?}", finished.stdout);
}

/// 300,003 outstanding blocks are all there, to the last byte, in a map that grows as it fills.
#[test]
fn hundreds_of_thousands_of_blocks() {
    let Some(_session) = session() else { return };
    let (capture, truths) = target("many", &["300003"]).captured(&EXACT);
    assert_conserved(&capture);
    // So fast a target may cost stacks, and no byte.
    let got = whole(&capture, "at_many");
    assert_eq!(
        (Some(got.outstanding_bytes), Some(got.outstanding_count)),
        (truths[0].outstanding_bytes, truths[0].outstanding_count),
        "{:?}",
        capture.losses
    );
    let sites = sites_through(&capture, SiteKind::Malloc, "at_many");
    assert_eq!(sites.len(), 256);
    let fill = capture.tracer.high_water["LIVE"];
    assert!(
        fill.used >= 300_003 && fill.used < fill.capacity,
        "{fill:?}"
    );
}

/// The same in a map for a third of them, with a ring that is far too small: the rest is kept elsewhere, which is said, as is
/// each stack that is lost, and no byte is missing.
#[test]
fn hundreds_of_thousands_of_blocks_beyond_the_map() {
    let Some(_session) = session() else { return };
    let small = ["--max-outstanding", "100000", "--ring-bytes", "4m"];
    let flags = [&EXACT[..], &small].concat();
    let (capture, truths) = target("many", &["300003"]).captured(&flags);
    assert_conserved(&capture);
    let got = whole(&capture, "at_many");
    assert_eq!(
        (Some(got.outstanding_bytes), Some(got.outstanding_count)),
        (truths[0].outstanding_bytes, truths[0].outstanding_count),
        "{:?}",
        capture.losses
    );
    let kept = loss(&capture, "kept by the tracer: map full");
    assert!(kept >= 200_000, "{:?}", capture.losses);
    let lost = loss(&capture, "stack lost: ring full");
    assert_eq!(capture.completeness.stacks + lost, 300_003);
}

/// Thousands of threads that allocate at the same moment are all seen, and each is told by its own name. `--full` takes
/// 10,000.
#[test]
fn thousands_of_threads() {
    let Some(_session) = session() else { return };
    let threads = if is_full() { 10_000 } else { 3000 };
    let flags = [&EXACT[..], &["--threads"]].concat();
    let (capture, truths) = target("crowd", &[&threads.to_string()]).captured(&flags);
    assert_exact(&capture, SiteKind::Malloc, "live", &truths);
    let sites = sites_through(&capture, SiteKind::Malloc, "at_crowd");
    let mut names: Vec<&str> = sites
        .iter()
        .filter_map(|site| site.thread.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    let named = names
        .iter()
        .filter(|name| name.starts_with("crowd-"))
        .count();
    assert_eq!(named, threads, "{:?}", &names[..names.len().min(20)]);
    assert_eq!(loss(&capture, "not recorded: too many calls at once"), 0);
}

/// A target whose every stack is new costs no more memory than some ten thousand stacks: those that hold nothing any more
/// make room, their totals stay, which is said, and what is outstanding is exact.
#[test]
fn ever_new_stacks() {
    let Some(_session) = session() else { return };
    let mut target = target("bench_exact", &["2", "64", "16", "0"]);
    let tool = Tool::capture(target.pid(), &EXACT);
    let truth = made(&mut target, 12_000, 5000);
    let capture = tool.finish();
    assert_conserved(&capture);
    let got = whole(&capture, "at_exact");
    let told = (
        truth.outstanding_bytes,
        truth.outstanding_count,
        truth.allocated_bytes,
        truth.allocated_count,
    );
    let got = (
        Some(got.outstanding_bytes),
        Some(got.outstanding_count),
        Some(got.allocated_bytes),
        Some(got.allocated_count),
    );
    assert_eq!(got, told, "{:?}", capture.losses);
    let not_kept = loss(&capture, "stack not kept: too many");
    assert!(not_kept > 30_000, "{not_kept} of 60,000 made room");
    let holds = sum(&ended(&capture, "not-kept")).outstanding_count;
    assert_eq!(holds, 0, "what is outstanding keeps its stack");
    // The ring of the tests is mapped twice; the rest is what some 10,000 stacks and their names take.
    let bound = 2 * (128 << 20) + (400 << 20);
    let rss = capture.tracer.max_rss;
    assert!(rss < bound, "{rss} bytes of peak RSS, bound {bound}");
}
