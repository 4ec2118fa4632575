//! One wrong frame is enough to fail.

use std::sync::Arc;

use super::*;

fn case() -> Case {
    let frames: [(&str, &str, i64); 4] = [
        ("a.A", "take", 7),
        ("a.A$$Lambda$1/0x0000000100068040", "run", -1),
        ("b.B", "go", 9),
        ("b.B", "main", 3),
    ];
    let frames = frames.map(|(class, method, line)| Told {
        class: class.to_owned(),
        method: method.to_owned(),
        line,
    });
    Case {
        path: "p".to_owned(),
        means: "JNI".to_owned(),
        kind: SiteKind::Malloc,
        bytes: 101,
        frames: frames.to_vec(),
    }
}

fn site(frames: &[(&str, &str, Option<u32>)]) -> Site {
    let frames: Vec<serde_json::Value> = frames
        .iter()
        .map(|(name, kind, line)| serde_json::json!({"name": name, "kind": kind, "line": line}))
        .collect();
    let text = serde_json::json!({"kind": "malloc", "estimated": false, "outstanding_bytes": 101,
        "outstanding_count": 1, "allocated_bytes": 101, "allocated_count": 1, "oldest_seconds": 0.0,
        "newest_seconds": 0.0, "freed_by_cleaner": 0, "stack_end": "root", "frames": frames});
    serde_json::from_value(text).expect("the schema")
}

const FRAMES: [(&str, &str, Option<u32>); 6] = [
    ("x.X.allocate0", "native", None),
    ("a.A.take(int)", "inlined", Some(7)),
    ("a.A$$Lambda$1.run", "c2", None),
    ("b.B.go", "interpreted", Some(9)),
    ("call_stub", "stub", None),
    ("b.B.main", "c1", Some(3)),
];

/// The same frames pass; another line, a missing, an additional and an exchanged frame fail.
#[test]
fn one_frame_is_enough_to_fail() {
    assert_eq!(case().compare(&site(&FRAMES)), Ok(Agreement::Whole));
    let mut line = FRAMES;
    line[3].2 = Some(10);
    let mut twice = FRAMES.to_vec();
    twice.insert(3, FRAMES[3]);
    let mut exchanged = FRAMES;
    exchanged.swap(3, 5);
    for wrong in [&line[..], &FRAMES[..5], &twice, &exchanged, &[]] {
        assert!(case().compare(&site(wrong)).is_err(), "{wrong:?}");
    }
}

/// Behind the marker of parked frames the stack must go on where the virtual thread was entered, as the JVM says.
#[test]
fn parked_frames_are_the_only_gap() {
    let mut case = case();
    case.frames[3].class = "jdk.internal.vm.Continuation".to_owned();
    case.frames[3].method = "run".to_owned();
    let mut parked = FRAMES;
    parked[3] = (PARKED, "unknown", None);
    assert!(case.compare(&site(&parked)).is_err(), "another method");
    parked[5].0 = ENTRY[0];
    assert_eq!(case.compare(&site(&parked)), Ok(Agreement::Unparked));
    assert!(case.compare(&site(&parked[..5])).is_err(), "nothing behind");
    let mut nothing = FRAMES.to_vec();
    nothing[5].0 = ENTRY[0];
    nothing.insert(4, parked[3]);
    assert!(case.compare(&site(&nothing)).is_err(), "no gap");
}

/// A truncated stack shows the leaf side as the JVM says, and any other end is a fault.
#[test]
fn truncated_stacks_keep_their_leaf_side() {
    let mut truncated = site(&FRAMES[..4]);
    TRUNCATED.clone_into(&mut truncated.stack_end);
    assert_eq!(case().compare(&truncated), Ok(Agreement::LeafSide));
    Arc::make_mut(&mut truncated.frames[3]).line = Some(10);
    assert!(case().compare(&truncated).is_err());
    let mut lost = site(&FRAMES);
    "lost".clone_into(&mut lost.stack_end);
    assert!(case().compare(&lost).is_err());
}
