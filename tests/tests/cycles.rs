//! Attached and detached again and again, while the target is at work: it goes on as if nothing had been.
//!
//! A usual run does it ten times to each target, `--full` 500 times, and `OFFHEAP_CYCLES=N` N times.

use std::process::Command;

use offheap_tests::code::{self, Instruction, assert_restored};
use offheap_tests::kernel::{assert_gone, objects_of_tool};
use offheap_tests::session::is_full;
use offheap_tests::{CFlags, Target, Tool, c_program, classpath, java, session};

const USUAL: u32 = 10;
const FULL: u32 = 500;
/// Of so many cycles, one ends with a kill instead of a detach.
const KILLED: u32 = 5;

fn cycles() -> u32 {
    let asked = std::env::var("OFFHEAP_CYCLES").ok();
    let asked = asked.map(|asked| asked.parse().expect("OFFHEAP_CYCLES is a number"));
    asked.unwrap_or(if is_full() { FULL } else { USUAL })
}

/// The probes of a first run, which are where those of all further ones will be.
fn attach_points(target: &Target) -> Vec<Instruction> {
    let capture = Tool::capture(target.pid(), &[]).finish();
    code::attach_points(&capture, target.pid())
}

/// Attaches, has the target prove that it goes on, and leaves it, in the way of the `cycle`th.
fn cycle(target: &mut Target, cycle: u32, goes_on: &mut impl FnMut(&mut Target)) {
    let tool = Tool::capture(target.pid(), &["--ring-bytes", "4m"]);
    let held = objects_of_tool(tool.pid());
    goes_on(target);
    if cycle % KILLED == KILLED - 1 {
        tool.signal(libc::SIGKILL);
        assert_eq!(tool.ended().code, None, "it was killed");
    } else {
        let finished = tool.interrupted();
        assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    }
    assert_gone(&held);
    goes_on(target);
}

fn survives(mut target: Target, mut goes_on: impl FnMut(&mut Target)) {
    let points = attach_points(&target);
    for number in 0..cycles() {
        cycle(&mut target, number, &mut goes_on);
        assert!(target.is_alive(), "it died in cycle {number}");
        assert_restored(&points, target.pid());
    }
    assert!(target.wait_end().success(), "it ends as it always does");
}

/// A process whose threads never stop to allocate is unharmed by any number of attaches and detaches: it goes on under each,
/// and its code is its file's after each.
#[test]
fn a_hot_process_is_unharmed() {
    let Some(_session) = session() else { return };
    let target = Target::start(&mut Command::new(c_program("load", CFlags::default())));
    let mut last = 0;
    survives(target, |target| {
        let told = |target: &mut Target| -> u64 {
            target.say("count");
            target.await_value("count ").parse().expect("a count")
        };
        let enough = last + 1000;
        while last < enough {
            last = told(target);
        }
    });
}

/// So is a JVM that compresses on all CPUs.
#[test]
fn a_busy_jvm_is_unharmed() {
    let Some(_session) = session() else { return };
    let Some(classes) = classpath() else { return };
    let mut target = Target::start(java(&classes, &[], "BenchGzip").args(["2", "32768"]));
    // There is always a batch under way: each answer is followed by the next order, before the tool does what it does.
    target.say("200");
    target.say("200");
    survives(target, |target| {
        target.await_value("ns ");
        target.say("200");
    });
}
