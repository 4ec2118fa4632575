use crate::triage::reading::{Collections, Generation, Summary};
use crate::triage::verdict::Cause;
use crate::triage::verdict::tests::{MIB, causes, jvm, look, looks};

fn generation(name: &str, used: u64, max: u64) -> Generation {
    Generation {
        name: name.to_owned(),
        capacity: max * MIB,
        max: max * MIB,
        used: used * MIB,
    }
}

fn collections(name: &str, count: u64) -> Vec<Collections> {
    vec![Collections {
        name: name.to_owned(),
        count,
        seconds: 1.0,
        full: true,
    }]
}

/// A heap that full collections leave full is that, whatever else there is; one that was collected once is not.
#[test]
fn heap_full() {
    let full = |count, left| {
        let mut look = look(0.0);
        jvm(&mut look).heap.used = Some((left + 10) * MIB);
        jvm(&mut look).heap.generations =
            vec![generation("young", 10, 170), generation("old", left, 342)];
        jvm(&mut look).heap.old_after_full = Some(left * MIB);
        jvm(&mut look).collections = collections("MSC", count);
        causes(&[look])
    };
    assert_eq!(full(5, 340)[0], Cause::HeapFull);
    assert_eq!(full(1, 340), [Cause::Nothing]);
    assert_eq!(full(5, 200), [Cause::Nothing]);
}

/// ZGC counts what is in use before it moves objects: if less is in use by now, the heap is not full.
#[test]
fn counted_before_the_end() {
    let full = |now: u64| {
        let mut look = look(0.0);
        let jvm = jvm(&mut look);
        jvm.collector = Some("Z".to_owned());
        jvm.heap.used = Some(now * MIB);
        jvm.heap.generations = vec![generation("old", 500, 512)];
        jvm.heap.old_after_full = Some(500 * MIB);
        jvm.collections = collections("Z concurrent cycle pauses", 30);
        causes(&[look])
    };
    assert_eq!(full(505)[0], Cause::HeapFull);
    assert_eq!(full(100), [Cause::Nothing]);
}

/// A heap of `used(n)` MiB and `count(n)` pauses at the n-th look, of a collector that does not say what it leaves.
fn beside(collector: &str, used: impl Fn(u64) -> u64, count: impl Fn(u64) -> u64) -> Vec<Summary> {
    looks(|n, look| {
        let jvm = jvm(look);
        jvm.collector = Some(collector.to_owned());
        jvm.heap.used = None;
        jvm.heap.generations = vec![generation("Heap", used(n), 512)];
        if count(n) > 0 {
            jvm.collections = collections("Shenandoah full", count(n));
        }
    })
}

/// A collector that does not say what it leaves has a full heap if it collects, and never less is in use; peaks of a
/// sawtooth are none, and garbage that nobody has collected yet is only said to be there.
#[test]
fn never_less() {
    let full = beside("Shenandoah", |n| 440 + n % 2, |n| 100 + 8 * n);
    assert_eq!(causes(&full)[0], Cause::HeapFull);
    let sawtooth = beside(
        "Shenandoah",
        |n| [450, 470, 200, 460, 470][n as usize],
        |n| 4 * n,
    );
    assert_eq!(causes(&sawtooth), [Cause::NoGrowth]);
    let idle = beside("Shenandoah", |_| 450, |_| 100);
    assert_eq!(causes(&idle), [Cause::HeapHigh, Cause::NoGrowth]);
    // The first ZGC keeps 34 MiB and more for itself.
    let uncounted = beside("Z", |_| 410, |_| 0);
    assert_eq!(causes(&uncounted), [Cause::HeapHigh, Cause::NoGrowth]);
    assert_eq!(causes(&full[..1]), [Cause::HeapHigh]);
    let next = &crate::triage::verdict::verdict(7, &full[..1])[0].next[0];
    assert!(next.starts_with("offheap triage 7 -d 30s"), "{next}");
    assert_eq!(causes(&beside("G1", |_| 474, |n| 8 * n)), [Cause::NoGrowth]);
}

/// Where generations have limits of their own it is said that the old one is full.
#[test]
fn old_generation() {
    let mut look = look(0.0);
    jvm(&mut look).heap.generations =
        vec![generation("young", 0, 170), generation("old", 340, 342)];
    jvm(&mut look).heap.old_after_full = Some(340 * MIB);
    jvm(&mut look).collections = collections("MSC", 9);
    let says = &crate::triage::verdict::verdict(7, &[look])[0].says;
    assert_eq!(
        says,
        "The Java heap is full: the last full collection left 340 MiB of 342 MiB in the old generation. It is not native \
         memory."
    );
}
