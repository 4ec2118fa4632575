use super::*;

pub(super) fn series(dir: &Path, keep: usize) -> Series {
    Series::open(dir, 4242, NonZeroUsize::new(keep).expect("not zero"), None).expect("a series")
}

/// Proves that a series keeps the newest bundles of its own target and removes nothing else.
#[test]
fn a_series_is_pruned() {
    let parent = folder();
    let dir = parent.path().join("series");
    let series = series(&dir, 2);
    for other in [
        "offheap-4243-20250101T000000Z",
        "offheap-4242-yesterday",
        "backup",
        "offheap-4242-20250101T000000Z",
    ] {
        fs::create_dir(dir.join(other)).expect("a folder");
    }
    fs::write(dir.join("offheap-4242-20250101T000000Z/report.txt"), "old").expect("an old report");
    fs::write(dir.join("backup/report.txt"), "mine").expect("a file");
    let at = |second| Timestamp::from_second(TIME.as_second() + second).expect("a time");
    let write = |second| {
        series
            .write(&fixture::empty(), &Options::default(), at(second))
            .expect("a bundle")
    };
    assert_eq!(write(0).removed, 0);
    assert_eq!(write(1).removed, 1);
    let third = write(2);
    assert_eq!((third.removed, third.left.len()), (1, 0));
    assert_eq!(
        names(&dir),
        [
            "backup",
            "offheap-4242-20260102T030406Z",
            "offheap-4242-20260102T030407Z",
            "offheap-4242-yesterday",
            "offheap-4243-20250101T000000Z",
        ]
    );
    assert_eq!(names(&third.path), BUNDLE);
    assert_eq!(
        fs::metadata(&dir).expect("the folder").permissions().mode() & 0o777,
        0o700
    );
}

/// Proves that two bundles of one second are both kept, in order, and that a clock set back removes not the newest.
#[test]
fn bundles_of_one_second_have_numbers() {
    let dir = folder();
    let two = series(dir.path(), 2);
    for _ in 0..3 {
        two.write(&fixture::empty(), &Options::default(), TIME)
            .expect("a bundle");
    }
    assert_eq!(
        names(dir.path()),
        [
            "offheap-4242-20260102T030405Z-2",
            "offheap-4242-20260102T030405Z-3"
        ]
    );
    let before = Timestamp::from_second(0).expect("a time");
    let written = two
        .write(&fixture::empty(), &Options::default(), before)
        .expect("a bundle");
    assert!(written.path.is_dir());
    assert_eq!(
        names(dir.path()),
        [
            "offheap-4242-19700101T000000Z",
            "offheap-4242-20260102T030405Z-3"
        ]
    );
}

/// Proves that an old bundle with a foreign file in it, or a link by a bundle's name, is left and said so.
#[test]
fn foreign_content_is_left() {
    let dir = folder();
    let victim = folder();
    fs::write(victim.path().join("report.txt"), "precious").expect("a file");
    symlink(
        victim.path(),
        dir.path().join("offheap-4242-20250101T000000Z"),
    )
    .expect("a link");
    fs::create_dir(dir.path().join("offheap-4242-20250102T000000Z")).expect("a folder");
    fs::write(
        dir.path().join("offheap-4242-20250102T000000Z/notes"),
        "mine",
    )
    .expect("a file");
    let written = series(dir.path(), 1)
        .write(&fixture::empty(), &Options::default(), TIME)
        .expect("a bundle");
    assert_eq!((written.removed, written.left.len()), (0, 2), "{written:?}");
    assert!(victim.path().join("report.txt").exists());
    assert!(
        dir.path()
            .join("offheap-4242-20250102T000000Z/notes")
            .exists()
    );
}

/// Proves that what a killed run left is removed by the next, and a living writer's is not.
#[test]
fn unfinished_bundles_are_removed() {
    let dir = folder();
    let unfinished = |writer: u32| format!(".offheap-4242-20260102T030405Z.partial-{writer}-abc");
    let (dead, alive) = (unfinished(u32::MAX), unfinished(std::process::id()));
    for name in [&dead, &alive] {
        fs::create_dir(dir.path().join(name)).expect("a folder");
        fs::write(dir.path().join(name).join("report.txt"), "half").expect("a file");
    }
    series(dir.path(), 1);
    assert_eq!(names(dir.path()), [alive]);
}
