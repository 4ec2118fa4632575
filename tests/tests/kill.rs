//! However the tool goes, the target stays, and nothing of the tool's remains in it or in the kernel.

use std::process::Command;
use std::time::{Duration, Instant};

use offheap_tests::code::{Instruction, assert_restored, attach_points};
use offheap_tests::kernel::{Objects, assert_gone, objects_of_tool};
use offheap_tests::tool::read_capture;
use offheap_tests::{CFlags, DEADLINE, Target, Tool, c_program, classpath, java, session};

/// With a small ring: what is in it when the tool is asked to end is still worked on.
const EXACT: [&str; 4] = ["--sample-bytes", "0", "--ring-bytes", "1m"];

fn load() -> Target {
    Target::start(&mut Command::new(c_program("load", CFlags::default())))
}

fn count(target: &mut Target) -> u64 {
    target.say("count");
    target.await_value("count ").parse().expect("a count")
}

/// The target's threads go on allocating.
fn assert_goes_on(target: &mut Target) {
    let before = count(target);
    let until = Instant::now() + DEADLINE;
    while count(target) < before + 1000 {
        assert!(Instant::now() < until, "the target stands still");
    }
}

/// Where a capture puts its probes, learnt from one.
fn probed(target: &Target) -> Vec<Instruction> {
    let capture = Tool::capture(target.pid(), &EXACT).finish();
    let points = attach_points(&capture, target.pid());
    assert!(
        points.iter().any(|point| point.name == "malloc"),
        "malloc is probed: {points:?}"
    );
    assert_restored(&points, target.pid());
    points
}

/// After `kill -9` of a tool that works at full load the target goes on, its code is its own again, and the kernel lists
/// none of the tool's programs, maps and links.
#[test]
fn killed_under_load_nothing_remains() {
    let Some(_session) = session() else { return };
    let mut target = load();
    let points = probed(&target);
    let tool = Tool::capture(target.pid(), &EXACT);
    let held = objects_of_tool(tool.pid());
    let malloc = points
        .iter()
        .find(|point| point.name == "malloc")
        .expect("malloc is probed");
    assert!(
        malloc.is_patched(target.pid()).expect("an own child"),
        "a live probe is in the code"
    );
    assert_goes_on(&mut target);

    tool.signal(libc::SIGKILL);
    assert_eq!(tool.ended().code, None, "killed");
    assert_gone(&held);
    assert_restored(&points, target.pid());
    assert_goes_on(&mut target);
    assert!(target.is_alive());
}

/// After a capture that ends as it should nothing remains either, at once.
#[test]
fn after_a_capture_nothing_remains() {
    let Some(_session) = session() else { return };
    let mut target = load();
    let points = probed(&target);
    let tool = Tool::capture(target.pid(), &EXACT);
    let held = objects_of_tool(tool.pid());
    assert_eq!(tool.interrupted().code, Some(0));
    assert_gone(&held);
    assert_restored(&points, target.pid());
    assert_goes_on(&mut target);
}

/// Ctrl-C at any moment, also before the probes are live, ends the tool with one of its exit codes, detached, and leaves
/// the target running.
#[test]
fn interrupted_at_any_moment() {
    let Some(_session) = session() else { return };
    let mut target = load();
    let points = probed(&target);
    let mut seed = 0x5eed_u64;
    for _ in 0..10 {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let moment = Duration::from_millis(seed >> 32 & 0x3ff);
        let tool = Tool::capture_unawaited(target.pid(), &EXACT);
        // Not a wait for anything: the moment is what this test varies.
        std::thread::sleep(moment);
        let held = Objects::of(tool.pid()).unwrap_or_default();
        let finished = tool.interrupted();
        // The signal may come before the tool has run its first instruction; then nothing was attached.
        let too_early = finished.code.is_none() && finished.stderr.is_empty() && held.is_empty();
        assert!(
            finished.code == Some(0) || too_early,
            "after {moment:?}: {finished:#?}"
        );
        assert_gone(&held);
        assert_restored(&points, target.pid());
    }
    assert_goes_on(&mut target);
}

/// A second Ctrl-C leaves at once, detached.
#[test]
fn interrupted_twice() {
    let Some(_session) = session() else { return };
    let mut target = load();
    let points = probed(&target);
    let tool = Tool::capture(target.pid(), &EXACT);
    let held = objects_of_tool(tool.pid());
    tool.signal(libc::SIGINT);
    tool.signal(libc::SIGINT);
    tool.ended();
    assert_gone(&held);
    assert_restored(&points, target.pid());
    assert_goes_on(&mut target);
}

/// SIGTERM ends a capture as Ctrl-C does, with a whole bundle.
#[test]
fn terminated_with_a_bundle() {
    let Some(_session) = session() else { return };
    let mut target = load();
    let tool = Tool::capture(target.pid(), &EXACT);
    tool.signal(libc::SIGTERM);
    let finished = tool.ended();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    read_capture(&finished.bundle()).expect("a whole bundle");
    assert_goes_on(&mut target);
}

/// A JVM survives the `kill -9` of the tool and still tells its truth.
#[test]
fn a_jvm_survives_the_kill() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else { return };
    let opens = ["--add-opens", "java.base/java.util.zip=ALL-UNNAMED"];
    let mut target = Target::start(java(&classpath, &opens, "Streams").arg("1000"));
    let tool = Tool::capture(target.pid(), &EXACT);
    let held = objects_of_tool(tool.pid());
    target.say("go");
    tool.signal(libc::SIGKILL);
    tool.ended();
    assert_gone(&held);
    target.await_word("done");
    target.say("exit");
    assert!(target.wait_end().success());
}
