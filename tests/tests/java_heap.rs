//! Regions of a JVM: what it commits is told apart from what it has only reserved, and its own from the program's.

use offheap::capture::{Owner, Site, SiteKind};
use offheap_tests::checks::describe;
use offheap_tests::{Target, Tool, classpath, java, session};

/// Besides the heap the JVM commits its collector's tables, metaspace and code: far less than this.
const OTHER: u64 = 24 << 20;

/// When the Java heap grows inside its reservation, the regions of the JVM grow by what it committed, and the
/// reservation counts for nothing.
#[test]
fn committed_heap_is_told_from_reserved() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else {
        return;
    };
    // G1 reports what it has committed to the byte.
    let flags = ["-XX:+UseG1GC", "-Xms8m"];
    let mut target = Target::start(&mut java(&classpath, &flags, "Growth"));
    let tool = Tool::capture(target.pid(), &["--hooks", "mmap"]);
    target.say("go");
    let committed: u64 = target
        .await_value("committed ")
        .parse()
        .expect("a number of bytes");
    assert!(committed >= 16 << 20, "the heap grew: {committed}");
    target.await_word("done");
    let capture = tool.finish();

    let jvm = |site: &&Site| site.kind == SiteKind::Mmap && site.owner == Some(Owner::Jvm);
    let grown: u64 = capture
        .sites
        .iter()
        .filter(jvm)
        .map(|site| site.outstanding_bytes)
        .sum();
    assert!(
        (committed..committed + OTHER).contains(&grown),
        "the JVM committed {committed} bytes of heap, captured {grown}\n{}",
        describe(&capture)
    );
}
