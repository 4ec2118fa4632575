//! Where the report goes, and what is left of it when it can't go there.

use std::fs;
use std::path::Path;
use std::process::Command;

use offheap::capture::SiteKind;
use offheap_tests::session::lacks_program;
use offheap_tests::tool::binary;
use offheap_tests::{CFlags, Finished, Target, Tool, assert_truth, c_program, session};
use tempfile::TempDir;

fn target() -> Target {
    Target::start(&mut Command::new(c_program("reuse", CFlags::default())))
}

/// Captures the whole work of a target into `out`.
fn captured_into(out: &Path) -> Finished {
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
            "-o",
        ])
        .arg(out);
    let tool = Tool::spawn(&mut command, TempDir::new().expect("a temporary directory"));
    tool.await_live();
    target.work();
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

/// A bundle that can't be written, because its place is no folder, costs the bundle and not the report.
#[test]
fn an_unwritable_place_keeps_the_report() {
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").expect("an own file");
    let finished = captured_into(&file.join("bundle"));
    assert_eq!(finished.code, Some(1), "{:#?}", finished.stderr);
    assert_reported(&finished);
    let said = finished
        .messages()
        .iter()
        .any(|line| line.contains("file/bundle"));
    assert!(said, "the place is named: {:#?}", finished.stderr);
}

/// A full disk costs the bundle and not the report, and leaves no half of a file that looks whole.
#[test]
fn a_full_disk_keeps_the_report() {
    if lacks_program("mount") || lacks_program("umount") {
        return;
    }
    let Some(_session) = session() else { return };
    let folder = TempDir::new().expect("a temporary directory");
    let disk = Disk::mounted(&folder.path().join("disk"));
    let out = disk.0.join("bundle");
    let finished = captured_into(&out);
    assert_eq!(finished.code, Some(1), "{:#?}", finished.stderr);
    assert_reported(&finished);
    assert!(
        !out.join("capture.json").exists(),
        "no capture that is only half there"
    );
}

/// A file system without a free page.
struct Disk(std::path::PathBuf);

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
        let disk = Disk(at.to_owned());
        // Fills it up; the error is the point.
        let _ = fs::write(at.join("ballast"), vec![0; 1 << 20]);
        disk
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
