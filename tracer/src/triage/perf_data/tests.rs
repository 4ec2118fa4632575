use super::*;

/// Recorded after a few collections: the bytes that each JVM says it uses.
const RECORDED: [(&str, &[u8]); 4] = [
    (
        "11",
        include_bytes!("../../../../fuzz/seeds/perf_data/jdk-11"),
    ),
    (
        "17",
        include_bytes!("../../../../fuzz/seeds/perf_data/jdk-17"),
    ),
    (
        "21",
        include_bytes!("../../../../fuzz/seeds/perf_data/jdk-21"),
    ),
    (
        "25",
        include_bytes!("../../../../fuzz/seeds/perf_data/jdk-25"),
    ),
];

fn recorded(release: &str) -> PerfData {
    let (_, bytes) = RECORDED.iter().find(|(name, _)| *name == release).unwrap();
    parse(bytes).unwrap()
}

/// Each release tells its version, its classes, its collectors and what was left after the last full collection.
#[test]
fn recorded_jvms() {
    for (release, _) in RECORDED {
        let data = recorded(release);
        assert!(
            data.java_version().unwrap().starts_with(release),
            "{release}"
        );
        assert!(
            data.numbers.len() > 100,
            "{release}: {}",
            data.numbers.len()
        );
        assert!(data.classes().unwrap() > 300, "{release}");
        let full: u64 = data
            .collections()
            .iter()
            .filter(|kind| kind.full)
            .map(|kind| kind.count)
            .sum();
        assert!(full > 0, "{release}: {:?}", data.collections());
        let left = data.old_after_full().unwrap();
        assert!((9 << 20..40 << 20).contains(&left), "{release}: {left}");
        assert!(
            data.generations()
                .iter()
                .all(|generation| generation.used <= generation.max)
        );
    }
}

/// The collectors go by their names, and only those of everything are full ones.
#[test]
fn collectors() {
    let full = |release| {
        let collections = recorded(release).collections();
        let full: Vec<String> = collections
            .into_iter()
            .filter(|kind| kind.full)
            .map(|kind| kind.name)
            .collect();
        full
    };
    assert_eq!(full("11"), ["MSC"]);
    assert_eq!(full("17"), ["G1 full collection pauses"]);
    assert_eq!(full("21"), ["Z concurrent cycle pauses"]);
    assert_eq!(full("25"), ["Parallel full collection pauses"]);
}

/// A young collection after the full one has moved more into the old generation: then it is not known what was left.
#[test]
fn young_after_full() {
    let mut data = recorded("17");
    assert!(data.old_after_full().is_some());
    let later = data.numbers["sun.gc.collector.1.lastExitTime"] + 1;
    data.numbers
        .insert("sun.gc.collector.0.lastExitTime".to_owned(), later);
    assert_eq!(data.old_after_full(), None);
}

/// Shenandoah counts what is in use at any moment: that is not what a collection left.
#[test]
fn not_after_a_collection() {
    let mut data = recorded("17");
    let name = "sun.gc.collector.1.name".to_owned();
    data.texts.insert(name, "Shenandoah full".to_owned());
    assert_eq!(data.old_after_full(), None);
}

/// What is cut off anywhere gives a beginning of the counters, or a reason.
#[test]
fn cut_off() {
    let (_, bytes) = RECORDED[1];
    let all = recorded("17");
    for end in (0..bytes.len()).step_by(97) {
        match parse(&bytes[..end]) {
            Ok(data) => assert!(
                data.numbers
                    .iter()
                    .all(|(name, value)| all.numbers.get(name) == Some(value))
            ),
            Err(reason) => assert_eq!(reason, NoPerfData::Magic),
        }
    }
    let mut other = bytes.to_vec();
    other[5] = 3;
    assert_eq!(parse(&other), Err(NoPerfData::Version(3)));
    other[5] = 2;
    other[7] = 0;
    assert_eq!(parse(&other), Err(NoPerfData::Starting));
}
