use super::*;
use crate::ledger::StackId;

fn sites(count: u32) -> Vec<(SiteKey, ())> {
    let key = |stack| SiteKey {
        kind: SiteKind::Malloc,
        pair: None,
        stack: StackId(stack),
        thread: None,
    };
    (0..count).map(|stack| (key(stack), ())).collect()
}

fn reading(at: usize, bytes: impl IntoIterator<Item = u64>) -> Reading {
    let held = bytes.into_iter().map(|bytes| Held {
        bytes: bytes as f64,
        count: (bytes > 0) as u64 as f64,
    });
    Reading {
        seconds: at as f64,
        rss: at as u64 * 4096,
        held: held.collect(),
    }
}

fn rest_bytes(readings: &Readings, last: &Reading, sites: &[(SiteKey, ())]) -> Vec<u64> {
    let rest = readings.rest(last, sites);
    rest.get(&SiteKind::Malloc)
        .map_or(Vec::new(), |rest| rest.bytes.clone())
}

/// However many moments are read, between half of the room and all of it is kept, what is kept is what was read then, and
/// all lists stay of one length.
#[test]
fn moments_are_bounded_and_true() {
    let sites = sites(3);
    let mut readings = Readings::default();
    let mut halved = 0;
    let mut stride = 1;
    let mut at = 0;
    while at < 40 * MOMENTS {
        // The second site comes later, the third never.
        let late = if at < 7 { 0 } else { at as u64 * 3 };
        if readings.keep(&reading(at, [at as u64 + 1, late, 0]), &sites) {
            (halved, stride) = (halved + 1, stride * 2);
        }
        let last = reading(at, [5, 7, 0]);
        for (id, of) in [(0, 1), (1, 3)] {
            let Some(series) = readings.of(SiteId(id), &last) else {
                assert!(id == 1 && at < 7);
                continue;
            };
            assert_eq!(series.bytes.len(), readings.seconds.len() + 1);
            assert_eq!(series.count.len(), readings.seconds.len() + 1);
            for (moment, bytes) in readings.seconds.iter().zip(&series.bytes) {
                let truth = if id == 0 {
                    *moment as u64 + 1
                } else {
                    *moment as u64 * of
                };
                assert!(
                    *bytes == truth || (*moment < 7.0 && *bytes == 0),
                    "{moment}: {bytes}"
                );
            }
        }
        assert_eq!(readings.of(SiteId(2), &last), None);
        at += stride;
    }
    assert!(halved >= 5);
    assert!((MOMENTS / 2..=MOMENTS).contains(&readings.seconds.len()));
    assert!(readings.seconds.is_sorted() && readings.seconds[0] == 0.0);
}

/// With more sites than there is room for, the biggest keep their lines, and lines and rest together hold every byte of
/// every moment.
#[test]
fn sites_are_bounded_and_no_byte_is_forgotten() {
    let count = SITES as u32 * 2 + 11;
    let sites = sites(count);
    let held = |at: u64| (0..u64::from(count)).map(move |site| (site * 7_919) % 10_007 * (at + 1));
    let mut readings = Readings::default();
    for at in 0..4 {
        readings.keep(&reading(at, held(at as u64)), &sites);
        assert!(readings.lines.len() <= SITES);
    }
    let last = reading(4, held(4));
    let mut sum = rest_bytes(&readings, &last, &sites);
    let mut smallest = u64::MAX;
    for site in 0..count {
        if let Some(series) = readings.of(SiteId(site), &last) {
            smallest = smallest.min(*series.bytes.last().unwrap());
            (0..5).for_each(|at| sum[at] += series.bytes[at]);
        }
    }
    for (at, sum) in sum.iter().enumerate() {
        assert_eq!(*sum, held(at as u64).sum::<u64>(), "at {at}");
    }
    let bigger = held(4).filter(|&bytes| bytes > smallest).count();
    assert!(
        bigger <= SITES,
        "{bigger} are bigger than the smallest that is kept"
    );
}

/// A small site that becomes one of the biggest gets a line of its own from then on.
#[test]
fn the_grown_are_noticed() {
    let count = SITES as u32 + 1;
    let sites = sites(count);
    let mut readings = Readings::default();
    let big = 1_000_003;
    let held = |last: u64| (0..count - 1).map(move |_| big).chain([last]);
    readings.keep(&reading(0, held(1)), &sites);
    assert_eq!(readings.of(SiteId(count - 1), &reading(1, [])), None);
    readings.keep(&reading(1, held(big + 2)), &sites);
    let series = readings
        .of(SiteId(count - 1), &reading(2, held(big + 3)))
        .unwrap();
    assert_eq!(series.bytes, [0, big + 2, big + 3]);
}

/// Sites that become one have one line, the sum of theirs at every moment; the others keep theirs under their new numbers.
#[test]
fn lines_follow_their_sites() {
    let mut readings = Readings::default();
    for (at, bytes) in [[3, 0, 5], [7, 0, 11], [13, 17, 0]].into_iter().enumerate() {
        readings.keep(&reading(at, bytes), &sites(3));
    }
    readings.renumber(|site| SiteId(u32::from(site.0 == 2)));
    let last = reading(3, [19, 23]);
    let bytes = |site| readings.of(SiteId(site), &last).map(|series| series.bytes);
    assert_eq!(bytes(0), Some(vec![3, 7, 30, 19]));
    assert_eq!(bytes(1), Some(vec![5, 11, 0, 23]));
    assert!(
        !readings.keep(&last, &sites(2)),
        "and they go on from there"
    );
    assert_eq!(
        readings.of(SiteId(0), &last).map(|series| series.bytes),
        Some(vec![3, 7, 30, 19, 19])
    );
}
