//! Pairs of functions that the user declares: every way to name an object, exact counts, and what is said of declarations
//! that can't be right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::checks::{assert_conserved_within, assert_distinct, describe, functions};
use offheap_tests::session::lacks_library;
use offheap_tests::sources::jni_includes;
use offheap_tests::{
    CFlags, Finished, Target, Tool, Truth, assert_conserved, assert_exact, assert_frames_in_order,
    assert_rooted, assert_truth, c_library, c_program, classpath, java, session, sites_through,
    skip, sum,
};

const CONN: &str = "conn=conn_open|conn_open2|conn_open_with(ret)|conn_open3(*arg1, ret=0)\
                    /conn_close(arg0)|conn_drop(*arg0)/conn_up_ref(arg0)@libobjects_lib";
const SESSION: &str = "session=session_init(arg1, ret!=0)/session_end(arg0)@libobjects_lib\\.so$";
const STARTED: &str = "started session=session_start(arg0)/session_end(arg0)";
const HANDLE: &str = "handle=handle_open(ret:32)/handle_close(arg1:32)";
const SHARED: &str = "shared thing=shared_get(ret)/shared_put(arg0)/reopen";
const ALL: [&str; 5] = [CONN, SESSION, STARTED, HANDLE, SHARED];

fn library() -> PathBuf {
    c_library("objects_lib", CFlags::default())
}

fn target(mode: &str) -> Target {
    let program = c_program("objects", CFlags::default());
    Target::start(Command::new(program).arg(library()).arg(mode))
}

fn flags<'a>(pairs: &[&'a str], others: &[&'a str]) -> Vec<&'a str> {
    let pairs = pairs.iter().flat_map(|pair| ["--pair", *pair]);
    pairs.chain(others.iter().copied()).collect()
}

fn assert_pairs(capture: &Capture, truths: &[Truth]) {
    assert_exact(capture, SiteKind::Pair, "work", truths);
    assert_distinct(capture);
    for site in sites_through(capture, SiteKind::Pair, "work") {
        assert_rooted(site);
    }
}

fn without_bytes(truth: Truth) -> Truth {
    Truth {
        outstanding_bytes: Some(0),
        blocks: Some(0),
        ..truth
    }
}

/// Objects that are returned, stored, in the caller's memory, numbers, referenced and shared are outstanding from their
/// opening to their last closing, each once and under its pair, with exactly the blocks that opening them took.
#[test]
fn declared_pairs_are_exact() {
    let Some(_session) = session() else { return };
    let mut target = target("all");
    let exact = ["--hooks", "malloc", "--sample-bytes", "0"];
    let (capture, truths) = target.captured(&flags(&ALL, &exact));

    assert_pairs(&capture, &truths);
    for (function, pair) in [
        ("at_returned", "conn"),
        ("at_given", "session"),
        ("at_started", "started session"),
        ("at_numbers", "handle"),
        ("at_shared", "shared thing"),
    ] {
        let sites = sites_through(&capture, SiteKind::Pair, function);
        assert!(
            sites.iter().all(|site| site.pair.as_deref() == Some(pair)),
            "{function}\n{}",
            describe(&capture)
        );
    }
    let of = |name: &str| functions(&capture, name)[0];
    assert_eq!(of("conn_open").failed, 1, "the one that returned null");
    assert_eq!(of("conn_open3").failed, 2, "the ones that returned -1");
    assert_eq!(of("conn_open2").filtered, 2, "counted by what they called");
    assert_eq!(of("handle_open").failed, 1);
    assert_eq!(of("shared_get").recorded, 1);
    assert_eq!(of("conn_open").pair.as_deref(), Some("conn"));
    let doubtful: Vec<&String> = capture
        .notes
        .iter()
        .filter(|note| note.starts_with("pair "))
        .collect();
    assert!(doubtful.is_empty(), "{doubtful:?}");
}

/// Without malloc the same objects are counted, and no bytes are claimed for them.
#[test]
fn pairs_are_counted_without_malloc() {
    let Some(_session) = session() else { return };
    let mut target = target("all");
    let (capture, truths) = target.captured(&flags(&ALL, &["--hooks", "zlib"]));

    let truths: Vec<Truth> = truths.into_iter().map(without_bytes).collect();
    assert_pairs(&capture, &truths);
    let groups: Vec<&str> = capture.functions.iter().map(|f| f.group.as_str()).collect();
    assert!(
        !groups.contains(&"malloc") && groups.contains(&"pairs"),
        "{groups:?}"
    );
}

/// A library that is mapped after the attach is hooked within a second; a file declares what flags do; and the attach
/// says which pairs are nowhere yet.
#[test]
fn pairs_of_a_later_library_are_hooked_within_a_second() {
    let Some(_session) = session() else { return };
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    fs::write(
        file.path(),
        "[[pair]]\nname = \"conn\"\nopen = \"conn_open|conn_open2|conn_open_with(ret)|conn_open3(*arg1, ret=0)\"\n\
         close = \"conn_close(arg0)|conn_drop(*arg0)\"\nref = \"conn_up_ref(arg0)\"\nlibrary = \"libobjects_lib\"\n\n\
         [[pair]]\nname = \"shared thing\"\nopen = \"shared_get(ret)\"\nclose = \"shared_put(arg0)\"\nreopen = true\n",
    )
    .unwrap();
    let mut target = target("late");
    let path = file.path().to_str().unwrap();
    let tool = Tool::capture(
        target.pid(),
        &flags(
            &[SESSION, STARTED, HANDLE],
            &["--pairs", path, "--hooks", "zlib"],
        ),
    );
    tool.await_stderr("that a library is nowhere", |line| {
        line.starts_with("pair `conn`: no mapped file matches its library `libobjects_lib`")
    });
    target.say("go");
    target.await_word("mapped");
    // The second that the tool is given. There is no handshake with it: the promise is the time.
    std::thread::sleep(Duration::from_secs(1));
    let truths = target.work();
    let capture = tool.finish();

    let truths: Vec<Truth> = truths.into_iter().map(without_bytes).collect();
    assert_pairs(&capture, &truths);
    assert!(functions(&capture, "conn_open")[0].attached_after_seconds > 0.0);
}

fn finished(mode: &str, pairs: &[&str]) -> (Finished, Capture) {
    let mut target = target(mode);
    let tool = Tool::capture(target.pid(), &flags(pairs, &["--hooks", "zlib"]));
    target.work();
    let finished = tool.interrupted();
    let capture = finished.capture();
    (finished, capture)
}

/// The sentence is in the capture's notes, in the report and on stderr.
fn assert_told(finished: &Finished, capture: &Capture, sentence: &str) {
    for (where_, lines) in [
        ("notes", &capture.notes),
        ("stderr", &finished.stderr),
        ("report", &finished.stdout),
    ] {
        assert!(
            lines.iter().any(|line| line.contains(sentence)),
            "{where_} lack {sentence:?}: {lines:#?}"
        );
    }
}

/// A declaration whose library, OPEN or CLOSE is nowhere says so, and does not look like an empty report.
#[test]
fn functions_that_are_nowhere_are_told() {
    let Some(_session) = session() else { return };
    let (finished, capture) = finished(
        "left",
        &[
            "a=conn_open(ret)/conn_close(arg0)@libnowhere",
            "b=conn_opne(ret)/conn_close(arg0)",
            "c=conn_open(ret)/conn_colse(arg0)@libobjects",
        ],
    );
    for sentence in [
        "pair `a`: no mapped file matches its library `libnowhere`",
        "pair `b`: no mapped file defines `conn_opne`, its OPEN",
        "pair `c`: no mapped file that matches `libobjects` defines `conn_colse`, its CLOSE",
    ] {
        assert_told(&finished, &capture, sentence);
    }
}

/// A CLOSE that is never called, one that is given another argument, an OPEN that returns nothing, and one that returns a
/// status are told.
#[test]
fn declarations_that_do_not_fit_are_told() {
    let Some(_session) = session() else { return };
    let (left, capture) = finished("left", &["conn=conn_open(ret)/conn_close(arg0)"]);
    let never = "pair `conn`: 5 were opened, and `conn_close` was never called";
    assert_told(&left, &capture, never);
    let verdict = left
        .stdout
        .iter()
        .find(|line| line.contains("5 conns opened by at_left"));
    assert!(verdict.is_some(), "{:#?}", left.stdout);

    let (status, capture) = finished(
        "status",
        &[
            "second=conn_open(ret)/conn_close_second(arg0)",
            "nothing=nothing_open(ret)/status_close(arg0)",
            "status=status_open(ret)/status_close(arg0)",
        ],
    );
    for sentence in [
        "pair `second`: 5 calls of `conn_close_second` closed none of the 5 objects that were opened",
        "pair `nothing`: each of 5 calls of `nothing_open` has failed, or gives its object elsewhere",
        "pair `status`: 4 of 5 calls of `status_open` gave an object that was open",
    ] {
        assert_told(&status, &capture, sentence);
    }
}

/// More objects than the kernel's map has room for are all counted, and so are the ones of them that are closed.
#[test]
fn objects_beyond_the_map_are_kept_by_the_tracer() {
    let Some(_session) = session() else { return };
    let mut target = target("many");
    let pair = "conn=conn_open(ret)/conn_close(arg0)";
    let others = ["--hooks", "zlib", "--max-outstanding", "1024"];
    let (capture, truths) = target.captured(&flags(&[pair], &others));

    assert_truth(&capture, &truths);
    assert_conserved(&capture);
    let kept = capture.losses.get("kept by the tracer: map full").copied();
    assert!(kept.is_some_and(|kept| kept > 0), "{:?}", capture.losses);
}

/// What can't be read is refused before anything is attached, with exit code 2 and one line.
#[test]
fn unreadable_declarations_are_refused() {
    let Some(_session) = session() else { return };
    for (flag, value, reason) in [
        ("--pair", "conn=conn_open(ret)", "it has no CLOSE"),
        ("--pair", "conn=open(ret)/close(arg9)", "numbered from 0"),
        ("--pairs", "openssl", "presets are"),
        ("--pairs", "/nowhere/p.toml", "can't read /nowhere/p.toml"),
    ] {
        let finished = Tool::start(["capture", "1", flag, value]).ended();
        assert_eq!(finished.code, Some(2), "{:?}", finished.stderr);
        let messages = finished.messages();
        assert!(
            messages.len() == 1 && messages[0].contains(reason),
            "{messages:?}"
        );
    }
}

fn jni_library() -> Option<PathBuf> {
    let Some(includes) = jni_includes() else {
        skip("jni.h of the JDK in PATH");
        return None;
    };
    let includes = [includes[0].as_str(), includes[1].as_str()];
    let flags = CFlags {
        compile: &includes,
        ..CFlags::default()
    };
    Some(c_library("objects_jni", flags))
}

fn java_target(library: &Path) -> Option<Target> {
    let classpath = classpath()?;
    Some(Target::start(java(&classpath, &[], "Objects").arg(library)))
}

/// Handles that a Java program takes from a JNI library, also through an overloaded native method, are held by the Java
/// method that opened them; those that a Cleaner of the library closed are told apart from those that the program closed.
#[test]
fn handles_of_a_jni_library_are_held_by_java_methods() {
    let Some(_session) = session() else { return };
    let Some(mut target) = jni_library().as_deref().and_then(java_target) else {
        return;
    };
    let pair = "handle=Java_targets_Objects_open(ret)/Java_targets_Objects_close(arg2)";
    let tool = Tool::capture(target.pid(), &["--pair", pair, "--hooks", "zlib"]);
    let truths = target.work();
    let finished = tool.interrupted();
    let capture = finished.capture();

    assert_truth(&capture, &truths);
    assert_conserved_within(&capture, 16);
    for site in sites_through(&capture, SiteKind::Pair, "targets.Objects.forget") {
        let stack = [
            "targets.Objects.open",
            "targets.Objects.forget",
            "targets.Objects.work",
        ];
        assert_frames_in_order(site, &stack);
        assert_rooted(site);
    }
    let cleaned = sum(&sites_through(
        &capture,
        SiteKind::Pair,
        "targets.Objects.drop",
    ));
    assert_eq!(cleaned.freed_by_cleaner, cleaned.freed_count);
    for sentence in [
        "12 handles opened by targets.Objects.forget and not closed",
        "7 handles were closed only by a Cleaner thread: opened by targets.Objects.drop",
    ] {
        assert!(
            finished.stdout.iter().any(|line| line.contains(sentence)),
            "{:#?}",
            finished.stdout
        );
    }
}

/// Openings of these also take memory that is no object's: what the library makes once, or what the function that counts is
/// called with.
const ONCE_FOR_ALL: [&str; 5] = [
    "at_context",
    "at_connection",
    "at_shared_connection",
    "at_library",
    "at_memory",
];

/// Runs `presets MODE` under these presets: of each function, the number of open objects of its pair is the true one, they
/// hold what malloc gave to the openings and still has, and their stacks are whole.
fn assert_preset(mode: &str, presets: &str, library: &str, pairs: &[(&str, &str)]) {
    if lacks_library(library) {
        return;
    }
    let Some(_session) = session() else { return };
    let program = c_program("presets", CFlags::default());
    let mut target = Target::start(Command::new(program).arg(mode));
    let flags = [
        "--hooks",
        "malloc",
        "--sample-bytes",
        "0",
        "--pairs",
        presets,
    ];
    let (capture, mut truths) = target.captured(&flags);

    truths.retain(|truth| pairs.iter().any(|(function, _)| truth.site == *function));
    assert_eq!(truths.len(), pairs.len(), "{truths:?}");
    assert_truth(&capture, &truths);
    assert_conserved(&capture);
    for (function, pair) in pairs {
        let sites = sites_through(&capture, SiteKind::Pair, function);
        let named = sites.iter().all(|site| site.pair.as_deref() == Some(pair));
        assert!(named, "{function}\n{}", describe(&capture));
        sites.iter().for_each(|site| assert_rooted(site));
        let held = sum(&sites).outstanding_bytes;
        let blocks = sum(&sites_through(&capture, SiteKind::Malloc, function));
        let (blocks, all) = (blocks.outstanding_bytes, describe(&capture));
        match ONCE_FOR_ALL.contains(function) {
            true => assert!(
                0 < held && held <= blocks,
                "{function}: {held} of {blocks}\n{all}"
            ),
            false => assert_eq!(held, blocks, "{function}\n{all}"),
        }
    }
}

/// Without a word about pairs every preset is active. What any process keeps open is told in one sentence, behind what
/// holds memory; and the probes of presets that are not called cost nothing.
#[test]
fn presets_are_active_by_themselves() {
    let Some(_session) = session() else { return };
    let program = c_program("presets", CFlags::default());
    let mut target = Target::start(Command::new(program).arg("file"));
    let tool = Tool::capture(target.pid(), &[]);
    let truths = target.work();
    let finished = tool.interrupted();
    let capture = finished.capture();
    assert_truth(&capture, &truths);
    let [dlopen] = functions(&capture, "dlopen")[..] else {
        panic!("{:#?}", capture.functions);
    };
    assert_eq!(
        (dlopen.seen, dlopen.pair.as_deref()),
        (0, Some("library handle"))
    );
    let told = finished
        .stdout
        .iter()
        .position(|line| line.starts_with("Open: "));
    let told = told.unwrap_or_else(|| panic!("{:#?}", finished.stdout));
    let line = &finished.stdout[told];
    assert!(
        line.contains("10 file streams (6 by at_file (presets))"),
        "{line}"
    );
    assert!(
        !finished
            .stdout
            .iter()
            .any(|line| line.contains("not closed"))
    );
}

/// zstd's contexts and dictionaries of the distribution's library are outstanding as the program says, also those whose
/// opening function calls another one.
#[test]
fn zstd_preset_is_exact() {
    let pairs = [
        ("at_compressor", "zstd compressor"),
        ("at_compressor_stream", "zstd compressor"),
        ("at_decompressor", "zstd decompressor"),
        ("at_dictionary", "zstd compression dict"),
    ];
    assert_preset("zstd", "all", "libzstd.so.1", &pairs);
}

/// OpenSSL's contexts and connections, with the references that the program and OpenSSL itself take to them.
#[test]
fn ssl_preset_is_exact() {
    let pairs = [
        ("at_context", "SSL context"),
        ("at_connection", "SSL connection"),
        ("at_shared_connection", "SSL connection"),
    ];
    assert_preset("ssl", "ssl", "libssl.so.3", &pairs);
}

/// OpenSSL's smaller objects.
#[test]
fn bio_and_evp_presets_are_exact() {
    let pairs = [
        ("at_bio", "BIO object"),
        ("at_cipher", "EVP cipher context"),
        ("at_digest", "EVP digest context"),
    ];
    assert_preset("ssl", "bio,evp", "libssl.so.3", &pairs);
}

/// A library is one handle, however often it is loaded; and the calls are seen although `dlopen`, which looks for libraries
/// on behalf of its caller, must not see a return probe.
#[test]
fn dlopen_preset_is_exact() {
    let pairs = [
        ("at_library", "library handle"),
        ("at_library_again", "library handle"),
    ];
    assert_preset("dlopen", "dlopen", "libz.so.1", &pairs);
}

/// `dlopen` finds what the search path of its caller leads to, as without probes: with a return probe it would take
/// another one for its caller, and not find it.
#[test]
fn dlopen_still_knows_its_caller() {
    let Some(_session) = session() else { return };
    let folder = library();
    let folder = folder.parent().expect("a library is in a folder");
    let path = format!("-Wl,-rpath,{}", folder.display());
    let finder = CFlags {
        link: &[&path],
        ..CFlags::default()
    };
    let mut program = Command::new(c_program("presets", CFlags::default()));
    let mut target = Target::start(program.arg("runpath").arg(c_library("finder", finder)));
    let (capture, truths) = target.captured(&["--hooks", "zlib", "--pairs", "dlopen"]);
    assert_truth(&capture, &truths);
    assert_conserved(&capture);
}

/// File streams of every function that opens one.
#[test]
fn file_preset_is_exact() {
    let pairs = [
        ("at_file", "file stream"),
        ("at_descriptor", "file stream"),
        ("at_memory", "file stream"),
        ("at_process", "file stream"),
    ];
    assert_preset("file", "file", "libc.so.6", &pairs);
}
