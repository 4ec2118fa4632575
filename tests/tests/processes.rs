//! What the target does besides allocating: forking, ending, becoming another program.

use std::process::Command;

use offheap::capture::SiteKind;
use offheap_tests::{CFlags, Target, Tool, assert_exact, assert_truth, c_program, session};

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];

fn target(mode: &str) -> Target {
    Target::start(Command::new(c_program("process", CFlags::default())).arg(mode))
}

/// What a forked child allocates and frees, at the very addresses of its parent, does not touch the parent's account.
#[test]
fn children_are_somebody_else() {
    let Some(_session) = session() else { return };
    let mut target = target("fork");
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
}

/// A target that ends during the window ends the capture by itself, with everything that was outstanding at its end.
#[test]
fn a_target_that_ends_is_reported() {
    let Some(_session) = session() else { return };
    let mut target = target("fork");
    let tool = Tool::capture(target.pid(), &EXACT);
    let truths = target.work();
    target.say("exit");
    assert!(target.wait_end().success());
    let finished = tool.ended();

    assert_eq!(
        finished.code,
        Some(0),
        "a target that ends is a normal end: {:#?}",
        finished.stderr
    );
    let capture = finished.capture();
    assert!(
        capture.target.ended,
        "the report says that the target ended"
    );
    assert_truth(&capture, &truths);
    assert!(
        finished
            .stdout
            .iter()
            .any(|line| line.contains("at_parent")),
        "{:#?}",
        finished.stdout
    );
}

/// A target that is killed during the window is reported like one that ends.
#[test]
fn a_target_that_is_killed_is_reported() {
    let Some(_session) = session() else { return };
    let mut target = target("fork");
    let tool = Tool::capture(target.pid(), &EXACT);
    let truths = target.work();
    target.kill();
    let finished = tool.ended();

    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let capture = finished.capture();
    assert!(
        capture.target.ended,
        "the report says that the target ended"
    );
    assert_truth(&capture, &truths);
}

/// A target that becomes another program and ends leaves a whole bundle and a normal end.
#[test]
fn a_target_that_executes_another_program_is_survived() {
    let Some(_session) = session() else { return };
    let mut target = target("exec");
    let tool = Tool::capture(target.pid(), &EXACT);
    target.work();
    target.say("exec");
    target.await_word("ready");
    target.say("go");
    assert!(target.wait_end().success());
    let finished = tool.ended();

    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    assert!(finished.capture().target.ended);
}
