//! Incidents and healthy processes that `offheap triage`, captures and their comparison have to tell from each other, in
//! the right words: the scenarios of `cargo xtask scenario`, each on the JVMs that matter to it.

use offheap_tests::scenarios::{ALL, prove};

/// Deflaters that a handler forgets are native memory, and the capture names the handler; streams and blocks add up.
#[test]
fn deflaters() {
    prove("deflaters");
}

/// Iterators of a native store grow below the Java caller by what the store says.
#[test]
fn store() {
    prove("store");
}

/// A cgroup that is full of page cache is told from one whose JVM is too large.
#[test]
fn page_cache() {
    prove("page-cache");
}

/// A heap that full collections can't empty is the Java heap's affair, with each collector that can fill it.
#[test]
fn heap_full() {
    prove("heap-full");
}

/// Selectors that are not closed are descriptors that grow with the heap.
#[test]
fn selectors() {
    prove("selectors");
}

/// Threads that are started and never end are named by their pattern.
#[test]
fn threads() {
    prove("threads");
}

/// Loaders that define the same classes again and again are seen as what fills metaspace.
#[test]
fn class_loaders() {
    prove("class-loaders");
}

/// Direct buffers are told apart from other native memory, and counted to the byte, on each JDK.
#[test]
fn direct_buffers() {
    prove("direct-buffers");
}

/// What malloc keeps after a burst is retention and no leak, with its size.
#[test]
fn retention() {
    prove("retention");
}

/// Blocks of malloc that are never freed are native memory, with the command that finds their stacks.
#[test]
fn native_blocks() {
    prove("native-blocks");
}

/// Services that work and leave nothing behind are said not to grow, on each JDK.
#[test]
fn healthy() {
    prove("healthy");
}

/// Nor is one whose caches are full and always change.
#[test]
fn healthy_warm() {
    prove("healthy-warm");
}

/// Nor is the gzip server that ends its Deflaters.
#[test]
fn healthy_gzip() {
    prove("healthy-gzip");
}

/// Nor is the store's service that closes its iterators.
#[test]
fn healthy_store() {
    prove("healthy-store");
}

/// Nor is one in a cgroup with room to spare.
#[test]
fn healthy_cgroup() {
    prove("healthy-cgroup");
}

/// Each scenario has a test here, by its name, and a name of its own.
#[test]
fn each_has_a_test() {
    let source = include_str!("incidents.rs");
    for scenario in &ALL {
        let name = scenario.name;
        assert_eq!(
            source.matches(&format!("prove(\"{name}\")")).count(),
            1,
            "{name}"
        );
    }
}
