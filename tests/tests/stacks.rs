//! Native stacks: complete where they are copied, and marked where they are not.

use std::process::Command;

use offheap::capture::{Capture, Site, SiteKind};
use offheap_tests::checks::{assert_distinct, stack};
use offheap_tests::{
    CFlags, Target, Tool, assert_conserved, assert_frames_in_order, assert_rooted, assert_truth,
    c_program, session, sites_through,
};

fn captured(flags: &[&str]) -> Capture {
    let mut target = Target::start(&mut Command::new(c_program("depths", CFlags::default())));
    let exact = ["--hooks", "malloc", "--sample-bytes", "0"];
    let tool = Tool::capture(target.pid(), &[&exact[..], flags].concat());
    let truths = target.work();
    let capture = tool.finish();
    assert_truth(&capture, &truths);
    assert_conserved(&capture);
    capture
}

fn only_site<'a>(capture: &'a Capture, name: &str) -> &'a Site {
    let sites = sites_through(capture, SiteKind::Malloc, name);
    assert_eq!(sites.len(), 1, "one call makes one site: {sites:#?}");
    sites[0]
}

/// Every frame of a recursion is there, at each depth, in order and down to the root of the thread.
#[test]
fn recursion_is_complete_at_every_depth() {
    let Some(_session) = session() else { return };
    let capture = captured(&[]);
    for depth in [1, 11, 101] {
        let site = only_site(&capture, &format!("at_depth_{depth}"));
        let frames = site
            .frames
            .iter()
            .filter(|frame| frame.name == "descend")
            .count();
        assert_eq!(frames, depth, "frames of the recursion in\n{}", stack(site));
        assert_frames_in_order(
            site,
            &[
                "descend",
                &format!("at_depth_{depth}"),
                "work",
                "main",
                "_start",
            ],
        );
        assert_rooted(site);
    }
}

/// A stack that is larger than what is copied says so, keeps the frames that were copied, and loses no byte.
#[test]
fn a_huge_stack_is_marked_truncated() {
    let Some(_session) = session() else { return };
    let capture = captured(&[]);
    let above = only_site(&capture, "above");
    assert_frames_in_order(above, &["above", "at_huge_stack"]);
    assert_eq!(above.stack_end, "truncated", "{}", stack(above));
    let ends: u64 = capture.completeness.ends.values().sum();
    assert_eq!(
        capture.completeness.complete + ends,
        capture.completeness.stacks,
        "every stack has an end"
    );
    assert!(
        capture
            .completeness
            .ends
            .get("truncated")
            .is_some_and(|&count| count >= 1)
    );
}

/// `--stack-bytes` bounds the copy: with a small one the deep recursion is truncated too, and the shallow one is not.
#[test]
fn stack_bytes_bound_the_copy() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut Command::new(c_program("depths", CFlags::default())));
    let flags = [
        "--hooks",
        "malloc",
        "--sample-bytes",
        "0",
        "--stack-bytes",
        "8k",
    ];
    let tool = Tool::capture(target.pid(), &flags);
    target.work();
    let capture = tool.finish();

    assert!(
        capture.settings.stack_bytes <= 8192,
        "the cap is kept: {}",
        capture.settings.stack_bytes
    );
    assert_rooted(only_site(&capture, "at_depth_1"));
    assert_eq!(only_site(&capture, "above").stack_end, "truncated");
}

/// Calls from different places of one line are one site, as their stacks look the same.
#[test]
fn equal_stacks_are_one_site() {
    let Some(_session) = session() else { return };
    // The compiler unrolls the loop around the calls, so that they return to different addresses.
    let flags = CFlags {
        compile: &["-O3", "-funroll-all-loops"],
        ..CFlags::default()
    };
    let mut target = Target::start(Command::new(c_program("streams", flags)).arg("forgotten"));
    let tool = Tool::capture(target.pid(), &["--sample-bytes", "0"]);
    target.work();
    assert_distinct(&tool.finish());
}

/// Pages of a thread's stack that were never touched do not end the walk, wherever they lie; where frames lie in one that
/// can't be read, the stack says that, and keeps the frames before it.
#[test]
fn pages_that_are_not_in_memory() {
    let Some(_session) = session() else { return };
    // Some compilers touch each page of a large frame.
    let flags = CFlags {
        compile: &["-fno-stack-clash-protection"],
        ..CFlags::default()
    };
    let mut target = Target::start(&mut Command::new(c_program("holes", flags)));
    let tool = Tool::capture(target.pid(), &["--hooks", "malloc", "--sample-bytes", "0"]);
    target.say("go");
    let rooms = [3, 7, 9];
    for pages in rooms {
        let holes: i32 = target.await_value("holes ").parse().expect("a number");
        assert!(
            holes >= pages - 1,
            "{holes} of {pages} pages were not touched"
        );
    }
    target.await_word("done");
    let capture = tool.finish();
    for pages in rooms {
        let above = format!("above_{pages}");
        let site = only_site(&capture, &above);
        assert_rooted(site);
        let names: Vec<&str> = site
            .frames
            .iter()
            .map(|frame| frame.name.as_str())
            .collect();
        let take = names.iter().position(|&name| name == "take");
        assert_eq!(take, Some(1), "{}", stack(site));
        assert_eq!(names[2], above, "{}", stack(site));
    }
    let locked = only_site(&capture, "below");
    assert_eq!(locked.stack_end, "page-missing", "{}", stack(locked));
    let below = locked.frames.iter().filter(|frame| frame.name == "below");
    assert!((4..13).contains(&below.count()), "{}", stack(locked));
    assert_eq!(capture.completeness.ends.get("page-missing"), Some(&1));
}
