//! The C libraries, allocators and zlibs of Debian's other releases: other compilers' code at the places where probes go.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use offheap::capture::SiteKind;
use offheap::functions::resolve::resolve;
use offheap::probes::Point;
use offheap::stack::ModuleId;
use offheap_tests::releases::{Release, releases};
use offheap_tests::{
    CFlags, Target, assert_conserved, assert_exact, assert_truth, c_program, session,
};

/// What no call of has to be quick: nothing that is emulated comes before the arguments or the frame are touched.
const SEEN_DEARLY: [&str; 5] = [
    "mremap",
    "munmap",
    "reallocarray",
    "mi_reallocarray",
    "sbrk",
];
/// As built with landing pads (`endbr64`) by Debian, musl makes room on the stack before its first jump.
const SEEN_DEARLY_IN_MUSL: [&str; 3] = ["mmap", "calloc", "aligned_alloc"];
/// They serve to find errors, and are slow themselves.
const AIDS: [&str; 2] = ["libmemusage.so", "libc_malloc_debug.so"];
/// What each release has of these: the C library, libstdc++'s own, an allocator, zlib.
const EXPECTED: [&str; 4] = ["malloc", "free", "deflateInit2_", "inflateEnd"];

fn points(library: &Path) -> Vec<Point> {
    let file = File::open(library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    let found = resolve(&file).into_iter();
    found.map(|found| Point::new(ModuleId(0), found)).collect()
}

fn is_excused(library: &str, function: &str) -> bool {
    let in_musl = library == "libc.so" && SEEN_DEARLY_IN_MUSL.contains(&function);
    SEEN_DEARLY.contains(&function) || in_musl || AIDS.iter().any(|aid| library.starts_with(aid))
}

/// Every function of the table is probed at an instruction that the kernel emulates, in each of the libraries, but for
/// those that are named above.
#[test]
#[cfg(target_arch = "x86_64")]
fn probes_are_cheap_everywhere() {
    let mut dear = Vec::new();
    for release in releases() {
        let mut seen = Vec::new();
        for library in release.libraries() {
            let name = library.file_name().unwrap_or_default().to_string_lossy();
            for point in points(&library) {
                seen.push(point.symbol.clone());
                if !point.placement.emulated && !is_excused(&name, &point.symbol) {
                    let at = &point.placement.instruction;
                    dear.push(format!("{release}: {name}: {}: {at}", point.symbol));
                }
            }
        }
        println!("{release}: {} functions", seen.len());
        for expected in EXPECTED {
            assert!(
                seen.iter().any(|name| name == expected),
                "{release} has no {expected}"
            );
        }
    }
    assert!(dear.is_empty(), "{dear:#?}");
}

/// Runs the program on each release that is new enough, with each of the allocators that it has, or its C library's own.
fn run(name: &str, allocators: &[Option<&str>], test: impl Fn(&mut Target)) {
    let Some(_session) = session() else { return };
    let program = c_program(name, CFlags::default());
    let (releases, mut ran) = (releases(), 0);
    for release in &releases {
        for allocator in allocators {
            let library = match allocator {
                Some(name) => release.library(name),
                None => None,
            };
            if allocator.is_some() && library.is_none() {
                println!("{release} has no {}", allocator.unwrap_or_default());
                continue;
            }
            ran += run_one(release, &program, library.as_deref(), &test) as u32;
        }
    }
    assert!(
        ran > 0 || releases.is_empty(),
        "{name} ran on none of {releases:?}"
    );
}

/// Whether the release is new enough.
fn run_one(
    release: &Release,
    program: &Path,
    library: Option<&Path>,
    test: impl Fn(&mut Target),
) -> bool {
    let Some(mut command) = release.command(program, library) else {
        println!("{release} is too old for {}", program.display());
        return false;
    };
    println!("{release}: {library:?}");
    // Allocators complain on stderr about the impossible sizes that the target asks for.
    test(&mut Target::start(command.stderr(Stdio::null())));
    true
}

const ALLOCATORS: [Option<&str>; 5] = [
    None,
    Some("libjemalloc.so.2"),
    Some("libtcmalloc_minimal.so.4"),
    Some("libtcmalloc.so.4"),
    Some("libmimalloc.so.3"),
];

/// The malloc family is exact on other releases' C libraries and allocators.
#[test]
fn blocks_are_exact() {
    run("family", &ALLOCATORS, |target| {
        let (capture, truths) = target.captured(&["--hooks", "malloc", "--sample-bytes", "0"]);
        assert_exact(&capture, SiteKind::Malloc, "work", &truths);
    });
}

/// So are C++'s operators.
#[test]
fn operators_are_exact() {
    run("news", &ALLOCATORS, |target| {
        let (capture, truths) = target.captured(&["--hooks", "malloc", "--sample-bytes", "0"]);
        assert_exact(&capture, SiteKind::Malloc, "work", &truths);
    });
}

/// So are mappings, to the page.
#[test]
fn regions_are_exact() {
    run("regions", &[None], |target| {
        let (capture, truths) = target.captured(&["--hooks", "mmap,malloc", "--sample-bytes", "0"]);
        assert_truth(&capture, &truths);
        assert_conserved(&capture);
    });
}
