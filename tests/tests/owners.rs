//! `offheap triage` on processes with each allocator: what it holds is found, and is its own.

use std::process::Command;

use offheap::triage::growth::resident;
use offheap::triage::owners::Kind;
use offheap_tests::session::lacks_library;
use offheap_tests::sources::musl_specs;
use offheap_tests::triage::{describe, last, look};
use offheap_tests::{CFlags, Target, c_program, session};

/// What an allocator may need beyond what was asked of it, in percent: headers, rounding, and caches of three threads.
const MORE: u64 = 35;

/// Where an allocator's memory lies.
const KINDS: [Kind; 4] = [
    Kind::MallocMain,
    Kind::MallocArenas,
    Kind::MallocLarge,
    Kind::OtherAllocator,
];

/// Runs `held` and checks that the blocks' memory has this allocator as its owner, and that little has none.
fn assert_owned(name: &str, command: &mut Command) {
    let mut target = Target::start(command);
    target.say("how much");
    let held: u64 = target.await_value("held ").parse().expect("bytes");
    let report = look(&target);
    let look = last(&report);
    let owned: u64 = KINDS.iter().map(|kind| resident(look, *kind)).sum();
    println!("{name}: {held} bytes held, {owned} resident");
    assert_eq!(
        look.facts.malloc.name.as_deref(),
        Some(name),
        "{}",
        describe(&report)
    );
    assert_eq!(look.facts.rollup_rss, Some(look.rss), "{name}");
    assert!(
        (held..=held + held * MORE / 100).contains(&owned),
        "{name}: {held} bytes are held\n{}",
        describe(&report)
    );
    let others = if name == "glibc" {
        resident(look, Kind::OtherAllocator)
    } else {
        resident(look, Kind::MallocArenas) + resident(look, Kind::MallocLarge)
    };
    assert_eq!(others, 0, "{name}: {}", describe(&report));
    let unknown = resident(look, Kind::Anonymous);
    assert!(unknown < held / 20, "{name}: {}", describe(&report));
}

/// The blocks of each allocator that replaces libc's are that allocator's.
#[test]
fn preloaded_allocators() {
    let Some(_session) = session() else { return };
    for (name, library) in [
        ("glibc", None),
        ("jemalloc", Some("libjemalloc.so.2")),
        ("tcmalloc", Some("libtcmalloc_minimal.so.4")),
        ("mimalloc", Some("libmimalloc.so.2")),
    ] {
        if library.is_some_and(lacks_library) {
            continue;
        }
        let mut command = Command::new(c_program("held", CFlags::default()));
        assert_owned(name, command.env("LD_PRELOAD", library.unwrap_or_default()));
    }
}

/// So are musl's, which has the place of libc.
#[test]
fn musl() {
    let Some(specs) = musl_specs() else { return };
    let Some(_session) = session() else { return };
    let link = format!("-specs={}", specs.display());
    let flags = CFlags {
        compile: &[&link, "-no-pie"],
        link: &[],
    };
    let folder = specs.parent().expect("a folder");
    // Debian's musl looks for libraries where glibc's linker script is, too.
    let mut command = Command::new(c_program("held", flags));
    assert_owned("musl", command.env("LD_LIBRARY_PATH", folder));
}
