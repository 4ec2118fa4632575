//! Where the report goes, and what is left of it when it can't go there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use offheap::capture::SiteKind;
use offheap_tests::session::lacks_program;
use offheap_tests::tool::{RING_BYTES, binary};
use offheap_tests::{CFlags, Finished, Target, Tool, assert_truth, c_program, session};
use tempfile::TempDir;

fn target() -> Target {
    Target::start(&mut Command::new(c_program("reuse", CFlags::default())))
}

/// Captures the whole work of a target into `out`, to which something happens before the end.
fn captured_into(out: &Path, meanwhile: impl FnOnce()) -> Finished {
    let mut target = target();
    let mut command = Command::new(binary().expect("a session was begun"));
    command
        .args([
            "capture",
            &target.pid().to_string(),
            "-d",
            "600s",
            "--sample-bytes",
            "0",
            "--ring-bytes",
            RING_BYTES,
            "-o",
        ])
        .arg(out);
    let tool = Tool::spawn(&mut command, TempDir::new().expect("a temporary directory"));
    tool.await_live();
    target.work();
    meanwhile();
    tool.interrupted()
}

fn assert_reported(finished: &Finished) {
    assert!(
        finished
            .stdout
            .iter()
            .any(|line| line.contains("at_second")),
        "the report is on stdout: {finished:#?}"
    );
}

/// The bundle has all its files, they agree with each other, and the report stands on stdout as well.
#[test]
fn a_bundle_is_whole() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let tool = Tool::capture(target.pid(), &["--hooks", "malloc", "--sample-bytes", "0"]);
    let truths = target.work();
    let finished = tool.interrupted();
    assert_truth(&finished.capture(), &truths);
    assert_reported(&finished);

    let bundle = finished.bundle();
    let read = |name: &str| {
        fs::read_to_string(bundle.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(read("report.txt").contains("at_second"));
    let flame = read("flame.svg");
    assert!(flame.contains("<svg") && flame.contains("at_second"));
    assert!(
        !flame.contains("src=\"http") && !flame.contains("@import"),
        "nothing remote is loaded"
    );
    assert_eq!(
        folded_bytes(&read("stacks.folded")),
        finished.capture().memory.outstanding_bytes
    );
    for entry in fs::read_dir(&bundle).expect("the bundle").flatten() {
        let name = entry.file_name();
        assert!(
            !name.to_string_lossy().starts_with('.'),
            "a temporary file remains: {name:?}"
        );
    }
}

/// The sum of the counts of folded stacks, whose lines are `root;...;leaf COUNT`.
fn folded_bytes(folded: &str) -> u64 {
    let count = |line: &str| -> u64 {
        let (stack, count) = line
            .rsplit_once(' ')
            .unwrap_or_else(|| panic!("no count in {line:?}"));
        assert!(!stack.is_empty(), "no stack in {line:?}");
        count
            .parse()
            .unwrap_or_else(|error| panic!("{line:?}: {error}"))
    };
    folded.lines().map(count).sum()
}

/// `report` renders a capture again, as any user and without the target.
#[test]
fn a_capture_is_rendered_again() {
    let Some(_session) = session() else { return };
    let mut target = target();
    let tool = Tool::capture(target.pid(), &["--hooks", "malloc", "--sample-bytes", "0"]);
    target.work();
    let finished = tool.interrupted();
    drop(target);
    let capture = finished.bundle().join("capture.json");
    let capture = capture.to_str().expect("a temporary path is text");
    for (format, contains) in [
        ("text", "at_second"),
        ("folded", ";at_second"),
        ("svg", "<svg"),
        ("json", "offheap.capture/1"),
    ] {
        let rendered = Tool::start(["report", capture, "-f", format]).ended();
        assert_eq!(rendered.code, Some(0), "{format}: {:#?}", rendered.stderr);
        assert!(
            rendered.stdout.iter().any(|line| line.contains(contains)),
            "{format}: {:#?}",
            rendered.stdout
        );
    }
    let folded = Tool::start(["report", capture, "-f", "folded"])
        .ended()
        .stdout
        .join("\n");
    let sites = finished.capture();
    let malloc = sites
        .sites
        .iter()
        .filter(|site| site.kind == SiteKind::Malloc);
    assert_eq!(
        folded_bytes(&folded),
        malloc.map(|site| site.outstanding_bytes).sum::<u64>()
    );
}

/// A place that can't hold a bundle is refused in one line that names it, before anything is traced.
#[test]
fn an_unwritable_place_is_refused_at_once() {
    let Some(_session) = session() else { return };
    let target = target();
    let folder = TempDir::new().expect("a temporary directory");
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").expect("an own file");
    let out = file.join("bundle");
    let out = out.to_str().expect("a temporary path is text");
    let refused =
        Tool::start(["capture", &target.pid().to_string(), "-d", "1s", "-o", out]).ended();
    assert_eq!(refused.code, Some(1), "{:#?}", refused.stderr);
    let messages = refused.messages();
    assert!(
        messages.len() == 1 && messages[0].contains(out),
        "{messages:#?}"
    );
}

/// A place that is gone when the bundle is to be written costs the bundle and not the report.
#[test]
fn a_place_that_is_gone_keeps_the_report() {
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    let parent = folder.path().join("parent");
    fs::create_dir(&parent).expect("an own folder");
    let finished = captured_into(&parent.join("bundle"), || {
        fs::remove_dir_all(&parent).expect("an own folder");
        fs::write(&parent, "no folder any more").expect("an own file");
    });
    assert_eq!(finished.code, Some(1), "{:#?}", finished.stderr);
    assert_reported(&finished);
    let said = finished
        .messages()
        .iter()
        .any(|line| line.contains("parent"));
    assert!(said, "the place is named: {:#?}", finished.stderr);
}

/// A disk that is full before the capture, or fills up meanwhile, costs the bundle and not the report, and leaves no half
/// of a file that looks whole.
#[test]
fn a_full_disk_keeps_the_report() {
    if lacks_program("mount") || lacks_program("umount") {
        return;
    }
    let Some(_session) = session() else { return };
    for full_before in [true, false] {
        let folder = TempDir::new().expect("a temporary directory");
        let disk = Disk::mounted(&folder.path().join("disk"));
        if full_before {
            disk.fill();
        }
        let out = disk.0.join("bundle");
        let finished = captured_into(&out, || disk.fill());
        assert_eq!(finished.code, Some(1), "{:#?}", finished.stderr);
        assert_reported(&finished);
        let said = finished
            .messages()
            .iter()
            .any(|line| line.contains("disk/bundle"));
        assert!(said, "the place is named: {:#?}", finished.stderr);
        assert!(
            !out.join("capture.json").exists(),
            "no capture that is only half there"
        );
    }
}

/// A small file system.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: &Path) -> Disk {
        fs::create_dir(at).expect("a mount point");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"])
            .arg(at)
            .status();
        assert!(
            mount.is_ok_and(|status| status.success()),
            "root mounts a small tmpfs"
        );
        Disk(at.to_owned())
    }

    /// Leaves no free page; the error is the point.
    fn fill(&self) {
        let _ = fs::write(self.0.join("ballast"), vec![0; 1 << 20]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
