mod series;

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use tempfile::TempDir;

use self::series::series;
use super::*;
use crate::report::json;
use crate::report::tests::fixture;

const TIME: Timestamp = Timestamp::constant(1_767_323_045, 0);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

const BUNDLE: [&str; 6] = [
    "capture.json",
    "flame.svg",
    "profile.pb.gz",
    "report.html",
    "report.txt",
    "stacks.folded",
];

/// Proves that a bundle is private files in a private folder, with nothing left beside it.
#[test]
fn a_bundle_is_whole_and_private() {
    let parent = folder();
    let dir = parent.path().join("incident");
    check_writable(&dir).expect("writable");
    assert!(names(parent.path()).is_empty(), "the check leaves nothing");
    write(
        &dir,
        &fixture::server(),
        &Options {
            color: true,
            ..Options::default()
        },
        None,
    )
    .expect("a bundle");
    assert_eq!(names(parent.path()), ["incident"]);
    assert_eq!(names(&dir), BUNDLE);
    assert_eq!(
        fs::metadata(&dir).expect("the folder").permissions().mode() & 0o777,
        0o700
    );
    for name in BUNDLE {
        let metadata = fs::metadata(dir.join(name)).expect("a file");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(metadata.len() > 0, "{name}");
    }
    let read =
        json::parse(&fs::read(dir.join("capture.json")).expect("the capture")).expect("a capture");
    assert_eq!(read.sites.len(), fixture::server().sites.len());
    assert!(
        !fs::read_to_string(dir.join("report.txt"))
            .expect("the report")
            .contains('\x1b'),
        "no colours in files"
    );
}

/// Proves that in a folder that is there the files are replaced and others are left alone.
#[test]
fn a_present_folder_is_filled() {
    let dir = folder();
    fs::write(dir.path().join("report.txt"), "old").expect("an old report");
    fs::write(dir.path().join("mine"), "mine").expect("another file");
    write(dir.path(), &fixture::empty(), &Options::default(), None).expect("a bundle");
    assert_eq!(
        names(dir.path()),
        [
            "capture.json",
            "flame.svg",
            "mine",
            "profile.pb.gz",
            "report.html",
            "report.txt",
            "stacks.folded"
        ]
    );
    assert!(
        fs::read_to_string(dir.path().join("report.txt"))
            .expect("the report")
            .starts_with("Nothing")
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("mine")).expect("the other file"),
        "mine"
    );
}

/// Proves that links planted as the folder or as a file are not followed: what they point to stays as it is.
#[test]
fn links_are_not_followed() {
    let parent = folder();
    let (victim, prey) = (parent.path().join("victim"), parent.path().join("prey"));
    fs::create_dir(&victim).expect("a folder");
    fs::write(&prey, "precious").expect("a file");
    let link = parent.path().join("out");
    symlink(&victim, &link).expect("a link");
    for error in [
        check_writable(&link),
        write(&link, &fixture::empty(), &Options::default(), None),
    ] {
        let error = error.expect_err("a link").to_string();
        assert!(
            error.ends_with("is a symbolic link, which is not followed: name the folder itself"),
            "{error}"
        );
    }
    assert!(Series::open(&link, 1, NonZeroUsize::MIN, None).is_err());
    assert!(names(&victim).is_empty());

    symlink(&prey, victim.join("capture.json")).expect("a link");
    write(&victim, &fixture::empty(), &Options::default(), None).expect("a bundle");
    assert_eq!(fs::read_to_string(&prey).expect("the file"), "precious");
    assert!(
        fs::symlink_metadata(victim.join("capture.json"))
            .expect("the capture")
            .is_file(),
        "the link is replaced"
    );
}

/// Proves that a dangling link, a file and a missing parent are refused before a capture starts, with a remedy.
#[test]
fn bad_places_are_refused_early() {
    let parent = folder();
    let (file, dangling) = (parent.path().join("file"), parent.path().join("dangling"));
    fs::write(&file, "").expect("a file");
    symlink("nowhere", &dangling).expect("a link");
    let refusal = |dir: &Path| check_writable(dir).expect_err("a bad place").to_string();
    assert!(refusal(&file).ends_with("is there and is no folder: choose another name"));
    assert!(refusal(&dangling).contains("is a symbolic link"));
    assert!(refusal(&parent.path().join("a/b")).ends_with("a: entity not found; create it first"));
    assert!(
        refusal(&file.join("below")).contains("not a directory"),
        "{}",
        refusal(&file.join("below"))
    );
    assert!(
        refusal(Path::new("/proc/self/offheap")).starts_with("cannot write /proc/self/offheap: ")
    );
    assert!(refusal(Path::new("")).contains("names no folder"));
}

/// Proves that `%p`, `%t` and `%%` are expanded and everything else is kept.
#[test]
fn names_are_expanded() {
    let expanded = |template: &str| {
        expand(Path::new(template), 4242, TIME)
            .to_string_lossy()
            .into_owned()
    };
    assert_eq!(expanded("/var/tmp/%p-%t"), "/var/tmp/4242-20260102T030405Z");
    assert_eq!(expanded("100%%p/%x%"), "100%p/%x%");
    let raw = OsStr::from_bytes(b"\xff%p");
    assert_eq!(
        expand(Path::new(raw), 7, TIME).as_os_str().as_bytes(),
        b"\xff7"
    );
}

/// Runs one test of this binary again in a process of its own, told so by a variable. True in that process.
fn in_a_child(test: &str) -> bool {
    if std::env::var_os("OFFHEAP_CHILD").is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().expect("our own path"))
        .args([
            "--exact",
            &format!("bundle::tests::{test}"),
            "--nocapture",
            "--test-threads=1",
        ])
        .env("OFFHEAP_CHILD", "1")
        .output()
        .expect("start the test again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Proves that a disk that takes no more bytes gives an error with object and remedy, and leaves nothing behind.
#[test]
fn a_full_disk_leaves_nothing() {
    if !in_a_child("a_full_disk_leaves_nothing") {
        return;
    }
    let parent = folder();
    let (dir, old) = (parent.path().join("new"), parent.path().join("old"));
    write(&old, &fixture::empty(), &Options::default(), None).expect("a bundle");
    let before = fs::read(old.join("capture.json")).expect("the capture");
    limit_file_size(1024);
    let error = write(&dir, &fixture::server(), &Options::default(), None)
        .expect_err("no room")
        .to_string();
    assert!(
        error.contains("new/report.txt: file too large; raise the limit"),
        "{error}"
    );
    write(&old, &fixture::server(), &Options::default(), None).expect_err("no room");
    let error = series(&parent.path().join("series"), 1).write(
        &fixture::server(),
        &Options::default(),
        TIME,
    );
    error.expect_err("no room");
    assert_eq!(names(parent.path()), ["old", "series"]);
    assert_eq!(names(&old), BUNDLE);
    assert_eq!(
        fs::read(old.join("capture.json")).expect("the capture"),
        before,
        "the old file is whole"
    );
    assert!(names(&parent.path().join("series")).is_empty());
}

/// In this process no file may grow beyond `bytes`, and writing further is an error and not a signal.
fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: `limit` outlives the call, and ignoring a signal runs no code of ours.
    let done = unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit)
    };
    assert_eq!(done, 0, "set the limit");
}

/// Proves that a device without space is told as such.
#[test]
fn no_space_is_told() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let error = render(
        &fixture::empty(),
        Format::Json,
        &Options::default(),
        &mut &full,
    )
    .expect_err("no space");
    assert_eq!(
        explain(error, Path::new("out/capture.json")).to_string(),
        "cannot write out/capture.json: no storage space; free some space or choose another place"
    );
}

/// Proves that a folder that this user may not write to is refused before a capture starts.
#[test]
fn a_read_only_folder_is_refused() {
    if !in_a_child("a_read_only_folder_is_refused") {
        return;
    }
    let dir = folder();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555))
        .expect("take the right to write");
    let good = folder();
    become_nobody(&[dir.path(), good.path()]);
    check_writable(&good.path().join("new")).expect("a folder of one's own");
    for place in [dir.path().to_owned(), dir.path().join("new")] {
        let error = check_writable(&place)
            .expect_err("not writable")
            .to_string();
        assert!(
            error.ends_with("permission denied; choose a place that this user may write to"),
            "{error}"
        );
        write(&place, &fixture::empty(), &Options::default(), None).expect_err("not writable");
    }
    assert!(names(dir.path()).is_empty());
}

/// Root may write everywhere; give that up, and the folders to the user that we become.
fn become_nobody(folders: &[&Path]) {
    const NOBODY: u32 = 65_534;
    // SAFETY: geteuid has no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    for folder in folders {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).expect("give the folder away");
    }
    // SAFETY: both calls only take numbers.
    let done = unsafe { (libc::setgid(NOBODY), libc::setuid(NOBODY)) };
    assert_eq!(done, (0, 0), "become another user");
}

/// Proves that, where root writes, files and folders belong to the user who called sudo.
#[test]
fn bundles_belong_to_the_invoker() {
    // SAFETY: geteuid has no arguments and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let own = fs::metadata("/proc/self").expect("ourselves");
    let owner = if root {
        Owner {
            uid: 4_711,
            gid: 4_712,
        }
    } else {
        Owner {
            uid: own.uid(),
            gid: own.gid(),
        }
    };
    let parent = folder();
    let dir = parent.path().join("new");
    write(&dir, &fixture::empty(), &Options::default(), Some(owner)).expect("a bundle");
    let series = Series::open(
        &parent.path().join("series"),
        1,
        NonZeroUsize::MIN,
        Some(owner),
    )
    .expect("a series");
    let written = series
        .write(&fixture::empty(), &Options::default(), TIME)
        .expect("a bundle");
    let mut paths = vec![
        dir.clone(),
        parent.path().join("series"),
        written.path.clone(),
    ];
    paths.extend(
        BUNDLE
            .iter()
            .flat_map(|name| [dir.join(name), written.path.join(name)]),
    );
    for path in paths {
        let metadata = fs::metadata(&path).expect("written");
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (owner.uid, owner.gid),
            "{}",
            path.display()
        );
    }
}

/// Proves that the invoker is taken from sudo's variables, and only by root.
#[test]
fn the_invoker_is_read_from_sudo() {
    if !in_a_child("the_invoker_is_read_from_sudo") {
        return;
    }
    // SAFETY: this process runs one test in one thread that reads the environment; geteuid cannot fail.
    let root = unsafe {
        std::env::set_var("SUDO_UID", "1000");
        std::env::set_var("SUDO_GID", "1001");
        libc::geteuid() == 0
    };
    assert_eq!(
        Owner::of_invoker(),
        root.then_some(Owner {
            uid: 1000,
            gid: 1001
        })
    );
    // SAFETY: as above.
    unsafe { std::env::set_var("SUDO_UID", "root; rm") };
    assert_eq!(Owner::of_invoker(), None);
}
