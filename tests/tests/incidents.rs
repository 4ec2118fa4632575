//! Incidents that `offheap triage` has to tell from each other, in the right words.

use offheap::triage::reading::Summary;
use offheap::triage::verdict::Cause;
use offheap_tests::jdk::Jdk;
use offheap_tests::triage::{
    COLLECTORS, causes, describe, incidents, jdk, last, look, looks, scenario,
};
use offheap_tests::{Target, classpath, session};

/// Blocks of malloc that are never freed are native memory, with the command that finds their stacks.
#[test]
fn native() {
    let Some(_session) = session() else { return };
    let Some(report) = scenario("native", &[], 3) else {
        return;
    };
    assert_eq!(causes(&report), [Cause::Native], "{}", describe(&report));
    let finding = &report.verdict[0];
    assert!((70 << 20..90 << 20).contains(&finding.bytes), "{finding:?}");
    assert!(
        finding
            .next
            .iter()
            .any(|line| line.contains("offheap capture") && line.contains("malloc,zlib"))
    );
}

/// Threads that are started and never end are named by their pattern.
#[test]
fn threads() {
    let Some(_session) = session() else { return };
    let Some(report) = scenario("threads", &[], 3) else {
        return;
    };
    assert_eq!(causes(&report)[0], Cause::Threads, "{}", describe(&report));
    assert!(
        report.verdict[0].says.contains("300 more of `leak-#`"),
        "{}",
        describe(&report)
    );
    assert!(!causes(&report).contains(&Cause::NoGrowth));
}

/// Direct buffers are told apart from other native memory, and counted to the byte.
#[test]
fn direct_buffers() {
    let Some(_session) = session() else { return };
    let Some(report) = scenario("direct", &["-XX:MaxDirectMemorySize=512m"], 3) else {
        return;
    };
    assert_eq!(
        causes(&report),
        [Cause::DirectBuffers],
        "{}",
        describe(&report)
    );
    assert_eq!(report.verdict[0].bytes, 72 << 20, "{}", describe(&report));
}

/// Direct buffers are read on each JDK.
#[test]
fn direct_buffers_everywhere() {
    let Some(_session) = session() else { return };
    for (jdk, collector) in Jdk::downloaded()
        .iter()
        .zip(COLLECTORS.iter().rev().cycle())
    {
        let Some(mut target) =
            incidents(jdk, &[collector, "-XX:MaxDirectMemorySize=512m"], "direct")
        else {
            return;
        };
        let report = looks(&mut target, 1);
        let direct = |look: &Summary| look.facts.jvm.as_ref().and_then(|jvm| jvm.direct);
        let (Some(before), Some(after)) = (direct(&report.looks[0]), direct(&report.looks[1]))
        else {
            panic!("{jdk}: {}", describe(&report));
        };
        assert_eq!(
            (after.count - before.count, after.capacity - before.capacity),
            (24, 24 << 20),
            "{jdk}"
        );
        assert_eq!(after.max, 512 << 20, "{jdk}");
    }
}

/// Loaders that define the same classes again and again are seen as what fills metaspace.
#[test]
fn class_loaders() {
    let Some(_session) = session() else { return };
    let Some(report) = scenario("loaders", &[], 3) else {
        return;
    };
    assert_eq!(
        causes(&report)[0],
        Cause::ClassLoaders,
        "{}",
        describe(&report)
    );
    assert_eq!(causes(&report).len(), 1, "{}", describe(&report));
    let loaders = |look: &Summary| {
        look.facts
            .jvm
            .as_ref()
            .and_then(|jvm| jvm.class_loaders)
            .unwrap_or(0)
    };
    let more = loaders(last(&report)) - loaders(&report.looks[0]);
    // Lambdas of the JDK may take one of their own.
    assert!(
        (2_100..2_110).contains(&more),
        "{more}: {}",
        describe(&report)
    );
}

/// What malloc keeps after a burst is retention and no leak, with its size.
#[test]
fn retention() {
    let Some(_session) = session() else { return };
    let Some(jdk) = jdk() else { return };
    let Some(mut target) = incidents(&jdk, &["-XX:+UseG1GC"], "burst") else {
        return;
    };
    target.say("go");
    target.await_word("done");
    // The burst is over before the first look.
    let report = look(&target);
    assert_eq!(
        causes(&report),
        [Cause::RetainedByMalloc],
        "{}",
        describe(&report)
    );
    let kept = report.verdict[0].bytes;
    assert!(
        (200 << 20..=245 << 20).contains(&kept),
        "{kept}: {}",
        describe(&report)
    );
}

/// A heap that full collections can't empty is the Java heap's affair, with each collector that can fill it.
#[test]
fn heap_full() {
    let Some(_session) = session() else { return };
    for (jdk, collector) in Jdk::downloaded()
        .iter()
        .flat_map(|jdk| COLLECTORS.map(|collector| (jdk.clone(), collector)))
    {
        // ZGC needs room of its own to collect, and gives up on a heap of this size long before it is full.
        if collector.contains("ZGC") {
            continue;
        }
        let Some(mut target) = incidents(&jdk, &[collector], "heap") else {
            return;
        };
        target.say("go");
        target.await_word("done");
        let report = look(&target);
        assert_eq!(
            causes(&report)[0],
            Cause::HeapFull,
            "{jdk} {collector}: {}",
            describe(&report)
        );
        assert!(report.verdict[0].next[0].contains("GC.class_histogram"));
    }
}

/// Selectors that are not closed are descriptors that grow with the heap.
#[test]
fn descriptors() {
    let Some(_session) = session() else { return };
    let Some(jdk) = jdk() else { return };
    let Some(classpath) = classpath() else { return };
    let flags = ["-XX:+UseG1GC", "-Xms64m", "-Xmx64m"];
    let mut java = jdk.plain_java(&classpath, &flags, "Incidents");
    let mut target = Target::start(java.arg("descriptors"));
    let report = looks(&mut target, 3);
    assert_eq!(
        causes(&report)[0],
        Cause::DescriptorsWithHeap,
        "{}",
        describe(&report)
    );
    let more = |kind: &str| {
        let count = |look: &Summary| {
            look.facts
                .descriptors
                .as_ref()
                .and_then(|found| found.kinds.get(kind).copied())
                .unwrap_or(0)
        };
        count(last(&report)) - count(&report.looks[0])
    };
    assert_eq!(more("epoll"), 180, "{}", describe(&report));
}
