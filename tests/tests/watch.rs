//! `watch`: a bundle per period, never half of one, and an end when asked or when the target ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use offheap_tests::kernel::{assert_gone, objects_of_tool};
use offheap_tests::tool::{RING_BYTES, binary, read_capture};
use offheap_tests::{CFlags, DEADLINE, Target, Tool, assert_truth, c_program, session};
use tempfile::TempDir;

const KEPT: usize = 2;

fn target() -> Target {
    Target::start(&mut Command::new(c_program("process", CFlags::default())))
}

/// Watches `pid` with a bundle each second; the folder of the bundles besides.
fn watch(pid: u32) -> (Tool, PathBuf) {
    let folder = TempDir::new().expect("a temporary directory");
    let out = folder.path().join("bundles");
    let mut command = Command::new(binary().expect("a session was begun"));
    command.args([
        "watch",
        &pid.to_string(),
        "--every",
        "1s",
        "--keep",
        &KEPT.to_string(),
        "--sample-bytes",
        "0",
        "--ring-bytes",
        RING_BYTES,
        "-o",
    ]);
    command.arg(&out);
    let tool = Tool::spawn(&mut command, folder);
    tool.await_live();
    (tool, out)
}

/// The bundles in `out` that are there for others to read, oldest first.
fn bundles(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let visible = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    };
    let mut bundles: Vec<PathBuf> = entries
        .filter(visible)
        .filter(|path| path.is_dir())
        .collect();
    bundles.sort();
    bundles
}

/// Looks at the folder again and again until `enough` names have been seen there; whatever is seen is whole.
fn look_until(out: &Path, enough: usize) -> Vec<PathBuf> {
    let until = Instant::now() + DEADLINE;
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut looks = 0_u64;
    while seen.len() < enough {
        assert!(
            Instant::now() < until,
            "{enough} bundles don't come: {seen:?}"
        );
        let now = bundles(out);
        assert!(
            now.len() <= KEPT + 1,
            "more than are kept, and the one that replaces them: {now:?}"
        );
        for bundle in now {
            assert_whole(&bundle);
            if !seen.contains(&bundle) {
                seen.push(bundle);
            }
        }
        looks += 1;
    }
    assert!(looks > 10, "the folder was looked at while it changed");
    seen
}

/// A bundle that is visible is complete; one that was found broken has to be gone by now, renamed before its removal.
fn assert_whole(bundle: &Path) {
    let files = ["report.txt", "flame.svg", "stacks.folded"];
    let broken = read_capture(bundle)
        .err()
        .or_else(|| files.iter().find_map(|name| empty(&bundle.join(name))));
    if let Some(broken) = broken {
        assert!(!bundle.exists(), "half a bundle is visible: {broken}");
    }
}

fn empty(file: &Path) -> Option<String> {
    let length = fs::metadata(file).map_or(0, |metadata| metadata.len());
    (length == 0).then(|| format!("{} is missing or empty", file.display()))
}

/// A bundle appears each period and is whole whenever it can be seen, only the newest are kept, each covers the time
/// since the attach, and SIGTERM ends it cleanly.
#[test]
fn bundles_are_whole_and_bounded() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let (tool, out) = watch(target.pid());
    let held = objects_of_tool(tool.pid());
    let truths = target.work();
    let seen = look_until(&out, KEPT + 3);

    tool.signal(libc::SIGTERM);
    let finished = tool.ended();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    assert_gone(&held);
    let left = bundles(&out);
    assert_eq!(left.len(), KEPT, "{left:?}");
    let oldest = &seen[..seen.len() - KEPT];
    assert!(
        left.iter().all(|bundle| !oldest.contains(bundle)),
        "the newest are kept: {left:?}"
    );
    let captures: Vec<_> = left
        .iter()
        .map(|bundle| read_capture(bundle).expect("a whole bundle"))
        .collect();
    for capture in &captures {
        assert_truth(capture, &truths);
        assert!(
            capture.window.seconds > 2.0,
            "cumulative from the attach: {}",
            capture.window.seconds
        );
    }
    assert!(
        captures
            .windows(2)
            .all(|pair| pair[0].window.start == pair[1].window.start),
        "one attach"
    );
    let hidden = fs::read_dir(&out).expect("the folder").flatten().count() - left.len();
    assert_eq!(hidden, 0, "nothing half-written remains");
}

/// When the target ends, the last bundle says so and holds everything, and the watch ends by itself.
#[test]
fn ends_with_the_target() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let (tool, out) = watch(target.pid());
    let truths = target.work();
    look_until(&out, 1);
    target.kill();
    let finished = tool.ended();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let last = bundles(&out).pop().expect("a last bundle");
    let capture = read_capture(&last).expect("a whole bundle");
    assert!(capture.target.ended);
    assert_truth(&capture, &truths);
}
