//! Native memory of a JVM beside zlib: Unsafe, direct buffers, and JNI.

use offheap::capture::SiteKind;
use offheap_tests::checks::assert_conserved_within;
use offheap_tests::session::skip;
use offheap_tests::sources::jni_includes;
use offheap_tests::{
    CFlags, Target, Tool, assert_frames_in_order, assert_rooted, assert_truth, c_library,
    classpath, java, session, sites_through,
};

/// The native methods that allocate. Other malloc calls below a target's method are the JVM's own, such as tasks for its
/// compilers.
const NATIVE: [&str; 3] = [
    "jdk.internal.misc.Unsafe.allocateMemory0",
    "jdk.internal.misc.Unsafe.reallocateMemory0",
    "targets.Blocks.allocate",
];

/// Blocks of Unsafe, direct buffers and a JNI library are exact in bytes and count, and their stacks name the Java
/// methods in order down to the thread's root.
#[test]
fn native_blocks_of_java_are_exact() {
    let Some(_session) = session() else { return };
    let Some(classpath) = classpath() else { return };
    let Some(includes) = jni_includes() else {
        return skip("jni.h of the JDK");
    };
    let includes: Vec<&str> = includes.iter().map(String::as_str).collect();
    let library = c_library(
        "blocks",
        CFlags {
            compile: &includes,
            link: &[],
        },
    );
    let mut target = Target::start(java(&classpath, &[], "Blocks").arg(library));
    let tool = Tool::capture(target.pid(), &["--hooks", "malloc", "--sample-bytes", "0"]);
    let truths = target.work();
    let mut capture = tool.finish();

    assert_conserved_within(&capture, 16);
    capture.sites.retain(|site| {
        site.frames
            .iter()
            .any(|frame| NATIVE.contains(&frame.name.as_str()))
    });
    assert_truth(&capture, &truths);
    let stacks: [&[&str]; 3] = [
        &[
            NATIVE[0],
            "sun.misc.Unsafe.allocateMemory",
            "targets.Blocks.unsafeBlock",
            "targets.Blocks.viaUnsafe",
        ],
        &[
            NATIVE[0],
            "java.nio.ByteBuffer.allocateDirect",
            "targets.Blocks.directBuffer",
            "targets.Blocks.viaBuffers",
        ],
        &[
            "Java_targets_Blocks_allocate",
            NATIVE[2],
            "targets.Blocks.jniBlock",
            "targets.Blocks.viaJni",
        ],
    ];
    for methods in stacks {
        for site in sites_through(&capture, SiteKind::Malloc, methods[2]) {
            let root = ["targets.Blocks.work", "targets.Blocks.main"];
            assert_frames_in_order(site, &[methods, &root[..]].concat());
            assert_rooted(site);
        }
    }
}
