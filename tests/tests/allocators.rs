//! Allocators other than the C library's: preloaded, under a prefix in a library, or linked into a static program.

use std::path::Path;
use std::process::{Command, Stdio};

use offheap::capture::{Capture, SiteKind};
use offheap_tests::checks::functions;
use offheap_tests::session::lacks_library;
use offheap_tests::{CFlags, Target, Tool, assert_exact, c_library, c_program, session};

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];

/// Runs the whole malloc family on the allocator `library` and checks that it, and nothing else, was counted.
fn preloaded(library: &str) {
    if lacks_library(library) {
        return;
    }
    let Some(_session) = session() else { return };
    let mut command = Command::new(c_program("family", CFlags::default()));
    // These allocators complain on stderr about the impossible sizes that the target asks for.
    let mut target = Target::start(command.env("LD_PRELOAD", library).stderr(Stdio::null()));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
    assert_reached(&capture, "malloc", library);
}

/// The file that was probed, and reached, is the one that is meant.
fn assert_reached(capture: &Capture, function: &str, file: &str) {
    let stem = file.split(".so").next().unwrap_or(file);
    let probed = functions(capture, function);
    assert!(
        probed
            .iter()
            .any(|function| function.file.contains(stem) && function.seen > 0),
        "{function} of {file} was not reached: {probed:#?}"
    );
}

/// jemalloc's own malloc family is exact.
#[test]
fn jemalloc_is_exact() {
    preloaded("libjemalloc.so.2");
}

/// tcmalloc's own malloc family is exact, `cfree` included.
#[test]
fn tcmalloc_is_exact() {
    preloaded("libtcmalloc_minimal.so.4");
}

/// mimalloc's own malloc family is exact, also where `realloc(p, 0)` gives an empty block.
#[test]
fn mimalloc_is_exact() {
    preloaded("libmimalloc.so.2");
}

/// Runs C++'s operators on the allocator `library`, or on the C library's, and checks that each call was counted once.
fn operators(library: Option<&str>) {
    if lacks_library("libstdc++.so.6") || library.is_some_and(lacks_library) {
        return;
    }
    let Some(_session) = session() else { return };
    let mut command = Command::new(c_program("news", CFlags::default()));
    let mut target = Target::start(command.env("LD_PRELOAD", library.unwrap_or_default()));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
}

/// libstdc++'s operators end in the C library's malloc: a call of both counts once.
#[test]
fn operators_that_end_in_malloc_are_exact() {
    operators(None);
}

/// jemalloc, tcmalloc and mimalloc have operators of their own, which never reach a malloc.
#[test]
fn operators_of_allocators_are_exact() {
    for library in [
        "libjemalloc.so.2",
        "libtcmalloc_minimal.so.4",
        "libmimalloc.so.2",
    ] {
        operators(Some(library));
    }
}

fn plugin() -> std::path::PathBuf {
    c_library("plugin", CFlags::default())
}

fn host(library: &Path) -> Command {
    let mut command = Command::new(c_program("host", CFlags::default()));
    command.arg(library);
    command
}

/// An allocator under the prefix `je_`, hidden inside another library, is found by its local symbols.
#[test]
fn a_prefixed_allocator_is_exact() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(&mut host(&plugin()));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "plugin_work", &truths);
    assert_reached(&capture, "je_malloc", "libplugin.so");
}

/// The same allocator in a library that is mapped after the attach is hooked within a second.
#[test]
fn a_prefixed_allocator_mapped_later_is_exact() {
    let Some(_session) = session() else { return };
    let mut target = Target::start(host(&plugin()).arg("late"));
    let tool = Tool::capture(target.pid(), &EXACT);
    target.say("go");
    target.await_word("mapped");
    // The second that the tool is given; see streams.rs.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let truths = target.work();
    let capture = tool.finish();

    assert_exact(&capture, SiteKind::Malloc, "plugin_work", &truths);
}

/// A program that is linked statically carries its malloc itself, in `.symtab` only.
#[test]
fn a_static_program_is_exact() {
    let Some(_session) = session() else { return };
    let program = c_program(
        "reuse",
        CFlags {
            compile: &["-static"],
            ..CFlags::default()
        },
    );
    let mut target = Target::start(&mut Command::new(program));
    let (capture, truths) = target.captured(&EXACT);

    assert_exact(&capture, SiteKind::Malloc, "work", &truths);
}
