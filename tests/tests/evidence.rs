//! Evidence before the kill: bundles as memory passes thresholds, and what the kernel's OOM killer left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::cgroup::Group;
use offheap_tests::tool::{RING_BYTES, binary, read_capture};
use offheap_tests::{CFlags, Target, Tool, c_program, session, sites_through, skip, sum};
use tempfile::TempDir;

const BLOCK: u64 = 1_048_583;

/// Watches with these thresholds and no bundle by the clock.
fn watch(pid: u32, levels: &str) -> (Tool, PathBuf) {
    let folder = TempDir::new().expect("a temporary directory");
    let out = folder.path().join("bundles");
    let mut command = Command::new(binary().expect("a session was begun"));
    let pid = pid.to_string();
    command.args(["watch", &pid, "--every", "1h", "--sample-bytes", "0"]);
    command.args(["--ring-bytes", RING_BYTES, "--snapshot-at", levels, "-o"]);
    let tool = Tool::spawn(command.arg(&out), folder);
    tool.await_live();
    (tool, out)
}

/// The captures of all bundles, oldest first.
fn captures(out: &Path) -> Vec<Capture> {
    let entries = fs::read_dir(out).expect("bundles");
    let mut bundles: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    bundles.retain(|bundle| {
        !bundle
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'))
    });
    bundles.sort();
    let read = |bundle: &PathBuf| read_capture(bundle).unwrap_or_else(|error| panic!("{error}"));
    let mut captures: Vec<Capture> = bundles.iter().map(read).collect();
    captures.sort_by(|a, b| a.window.seconds.total_cmp(&b.window.seconds));
    captures
}

fn pace() -> Target {
    Target::start(&mut Command::new(c_program("pace", CFlags::default())))
}

fn touch(target: &mut Target, blocks: u32) {
    target.say(&format!("touch {blocks}"));
    target.await_value("count ");
}

fn touched(capture: &Capture) -> u64 {
    sum(&sites_through(capture, SiteKind::Malloc, "at_touched")).outstanding_bytes
}

/// The notes that say why a bundle was due.
fn reasons(captures: &[Capture]) -> Vec<&str> {
    let notes = captures.iter().flat_map(|capture| &capture.notes);
    let notes = notes.map(String::as_str);
    notes
        .filter(|note| note.contains("passed") || note.contains("high-water"))
        .collect()
}

/// A bundle is written when RSS passes a size, once, and others at new high-water marks; each says why, as it is on disk.
#[test]
fn thresholds_make_bundles() {
    let Some(_session) = session() else { return };
    let mut target = pace();
    let (tool, out) = watch(target.pid(), "60m");
    touch(&mut target, 30);
    touch(&mut target, 40);
    tool.await_stderr("a bundle", |line| line.contains("written: "));
    // The mark may be seen on the way there: what is between is not asserted.
    touch(&mut target, 20);
    tool.await_stderr("a mark", |line| line.contains("high-water mark of 9"));
    touch(&mut target, 30);
    tool.await_stderr("a further mark", |line| {
        line.contains("high-water mark of 12")
    });
    let captures = captures(&out);
    let reasons = reasons(&captures);
    assert!(
        reasons[0].starts_with("RSS has passed 60 MiB: "),
        "{reasons:?}"
    );
    let marks = |reason: &&&str| reason.starts_with("RSS is at a new high-water mark of 9");
    assert_ne!(reasons.iter().filter(marks).count(), 0, "{reasons:?}");
    assert_eq!(reasons.len(), captures.len(), "one reason each");
    assert!(touched(&captures[0]) > 50 * BLOCK);
    assert!(captures[0].memory.reconciliation.is_some());
    assert_eq!(tool.interrupted().code, Some(0));
}

/// `attach` goes on with its tables, and puts a bundle where it was started.
#[test]
fn attach_writes_a_bundle() {
    let Some(_session) = session() else { return };
    let mut target = pace();
    let folder = TempDir::new().expect("a temporary directory");
    let out = folder.path().to_owned();
    let mut command = Command::new(binary().expect("a session was begun"));
    command.args(["attach", &target.pid().to_string(), "--plain"]);
    command.args(["--ring-bytes", RING_BYTES, "--snapshot-at", "60m"]);
    let tool = Tool::spawn(command.current_dir(&out), folder);
    tool.await_live();
    touch(&mut target, 70);
    tool.await_stderr("a bundle", |line| line.contains("written: "));
    // A mark of the same second takes the place of the bundle before.
    let finished = tool.interrupted();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let captures = captures(&out);
    assert!(reasons(&captures)[0].starts_with("RSS "));
    assert!(touched(&captures[0]) > 50 * BLOCK);
}

/// Before the kernel kills a process at its cgroup's limit a whole bundle is on disk; the last one says who killed it, and
/// both have what was outstanding.
#[test]
fn oom_kill() {
    let Some(_session) = session() else { return };
    let Some(group) = Group::new(128 << 20) else {
        skip("a memory cgroup of our own");
        return;
    };
    let mut target = pace();
    group.add(target.pid());
    let (tool, out) = watch(target.pid(), "50%,80%");
    touch(&mut target, 80);
    tool.await_stderr("a bundle", |line| line.contains("written: "));
    target.say("touch 100");
    target.wait_end();
    let finished = tool.ended();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    assert!(
        finished.stdout[0].starts_with(
            "The target ended, and the kernel's OOM killer took 1 process of its cgroup"
        ),
        "{:#?}",
        finished.stdout
    );
    let captures = captures(&out);
    let (first, last) = (&captures[0], captures.last().expect("bundles"));
    assert!(
        first
            .notes
            .iter()
            .any(|note| note.contains("has passed 50 % of its limit")),
        "{:?}",
        first.notes
    );
    assert!(touched(first) > 50 * BLOCK, "{}", touched(first));
    assert!(touched(last) > 100 * BLOCK, "{}", touched(last));
    let kill = last.target.oom_kill.as_ref().expect("the kill is told");
    assert_eq!((kill.kills, kill.limit), (1, Some(128 << 20)));
}
