//! The purpose of it all: a live JVM that opens Deflaters and Inflaters and does not end them all.

use std::process::Command;

use offheap::capture::{Capture, Site, SiteKind};
use offheap_tests::checks::{assert_conserved_within, assert_distinct, describe};
use offheap_tests::{
    CFlags, Target, Tool, Truth, assert_frames_in_order, assert_rooted, assert_truth, c_program,
    classpath, java, session, sites_through, sum,
};

/// Lets the target know when the cleaner has ended what it dropped.
const OPENS: [&str; 2] = ["--add-opens", "java.base/java.util.zip=ALL-UNNAMED"];
const EXACT: [&str; 4] = ["--hooks", "zlib,malloc", "--sample-bytes", "0"];
/// Calls of a JVM's other threads that may be under way when the counters are read.
const IN_FLIGHT: u64 = 16;

fn captured(
    jvm: &[&str],
    warm_up: &str,
    flags: &[&str],
) -> Option<(Capture, Vec<Truth>, Vec<String>)> {
    let classpath = classpath()?;
    let mut target =
        Target::start(java(&classpath, &[&OPENS[..], jvm].concat(), "Streams").arg(warm_up));
    let tool = Tool::capture(target.pid(), flags);
    let truths = target.work();
    let finished = tool.interrupted();
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    Some((finished.capture(), truths, finished.stdout))
}

/// The Java methods from the leak to the thread's root, in every site that leaks.
fn assert_stacks(capture: &Capture) {
    let opener = |kind| match kind {
        SiteKind::Deflate => [
            "deflateInit2_",
            "java.util.zip.Deflater.init",
            "java.util.zip.Deflater.<init>",
        ],
        _ => [
            "inflateInit2_",
            "java.util.zip.Inflater.init",
            "java.util.zip.Inflater.<init>",
        ],
    };
    let leaks = [
        (
            SiteKind::Deflate,
            [
                "targets.Streams.openDefault",
                "targets.Streams.forgetDeflater",
            ],
        ),
        (
            SiteKind::Deflate,
            [
                "targets.Streams.openRaw",
                "targets.Streams.forgetRawDeflater",
            ],
        ),
        (
            SiteKind::Inflate,
            [
                "targets.Streams.openInflater",
                "targets.Streams.forgetInflater",
            ],
        ),
    ];
    for (kind, leak) in leaks {
        let sites = sites_through(capture, kind, leak[1]);
        assert!(
            !sites.is_empty(),
            "{} leaks\n{}",
            leak[1],
            describe(capture)
        );
        for site in sites {
            let root = [
                "targets.Streams.serve",
                "targets.Streams.work",
                "targets.Streams.main",
            ];
            assert_frames_in_order(site, &[&opener(kind)[..], &leak[..], &root[..]].concat());
            assert_rooted(site);
        }
    }
}

/// Open streams per leaking method are exactly what the program says, ended and cleaned ones are not among them, and
/// each stack names the Java methods down to the root: with everything interpreted.
#[test]
fn interpreted_streams_are_exact() {
    let Some(_session) = session() else { return };
    let Some((capture, truths, _)) = captured(&["-Xint"], "10", &EXACT) else {
        return;
    };
    assert_truth(&capture, &truths);
    assert_stacks(&capture);
    assert_conserved_within(&capture, IN_FLIGHT);
}

/// The same under default flags, after the openers were compiled, with inlined frames.
#[test]
fn compiled_streams_are_exact() {
    let Some(_session) = session() else { return };
    let Some((capture, truths, report)) = captured(&[], "20000", &EXACT) else {
        return;
    };
    assert_truth(&capture, &truths);
    assert_stacks(&capture);
    assert_distinct(&capture);
    assert_conserved_within(&capture, IN_FLIGHT);
    let jvm = capture.target.jvm.as_ref().expect("the target is a JVM");
    assert_eq!(jvm.unsupported, None, "this JDK's layout is understood");
    assert!(
        report.iter().any(|line| line.contains("Deflater")),
        "the report names Deflaters: {report:#?}"
    );
}

/// The same with C1 alone, and with C2 as early as can be.
#[test]
fn each_compiler_alone_is_exact() {
    let Some(_session) = session() else { return };
    for compiler in [
        &["-XX:TieredStopAtLevel=1"][..],
        &["-XX:-TieredCompilation"][..],
    ] {
        let Some((capture, truths, _)) = captured(compiler, "20000", &EXACT) else {
            return;
        };
        assert_truth(&capture, &truths);
        assert_stacks(&capture);
    }
}

/// The zlib hooks alone count the same streams.
#[test]
fn zlib_hooks_alone_count_the_same() {
    let Some(_session) = session() else { return };
    let Some((capture, truths, _)) = captured(&[], "20000", &["--hooks", "zlib"]) else {
        return;
    };
    assert_truth(&capture, &truths);
    assert_stacks(&capture);
}

/// With exact malloc hooks the bytes and blocks behind the leaking streams are those that this zlib asks for.
#[test]
fn bytes_behind_streams_are_exact() {
    let Some(_session) = session() else { return };
    let Some((capture, truths, _)) = captured(&[], "20000", &EXACT) else {
        return;
    };
    let footprint = Footprint::measured();
    let jni = |kind| match kind {
        SiteKind::Deflate => ("Java_java_util_zip_Deflater_init", footprint.deflate),
        _ => ("Java_java_util_zip_Inflater_init", footprint.inflate),
    };
    for truth in truths
        .iter()
        .filter(|truth| truth.outstanding_count > Some(0))
    {
        let streams = truth.outstanding_count.expect("told");
        let (native, (bytes, blocks)) = jni(truth.kind);
        let behind: Vec<&Site> = sites_through(&capture, SiteKind::Malloc, &truth.site)
            .into_iter()
            .filter(|site| site.frames.iter().any(|frame| frame.name == native))
            .collect();
        let got = sum(&behind);
        // The JNI library allocates the z_stream itself.
        let expected = (streams * (bytes + footprint.stream), streams * (blocks + 1));
        assert_eq!(
            (got.outstanding_bytes, got.outstanding_count),
            expected,
            "behind {}",
            truth.site
        );

        let held = sum(&sites_through(&capture, truth.kind, &truth.site));
        let held = (held.outstanding_bytes, held.blocks);
        let zlib_alone = (streams * bytes, streams * blocks);
        assert!(
            held == expected || held == zlib_alone,
            "{} holds {held:?}, not {zlib_alone:?}",
            truth.site
        );
    }
}

/// What zlib asks malloc for, in bytes and blocks, and the size of a `z_stream`.
struct Footprint {
    deflate: (u64, u64),
    inflate: (u64, u64),
    stream: u64,
}

impl Footprint {
    /// Measured with the same libz.so.1 that a distribution's JDK uses.
    fn measured() -> Footprint {
        let output = Command::new(c_program("footprint", CFlags::default()))
            .output()
            .expect("an own program");
        let text = String::from_utf8(output.stdout).expect("an own program's text");
        let numbers = |name: &str| -> Vec<u64> {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .expect("a line for each kind");
            line.split(' ')
                .skip(1)
                .map(|number| number.parse().expect("a number"))
                .collect()
        };
        let pair = |name| (numbers(name)[0], numbers(name)[1]);
        Footprint {
            deflate: pair("deflate"),
            inflate: pair("inflate"),
            stream: numbers("stream")[0],
        }
    }
}
