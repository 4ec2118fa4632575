use std::io::{BufReader, Read as _};

use super::*;
use crate::triage::reading::{Heap, Jvm, Summary};
use crate::triage::smaps;

/// `smaps` of idle JVMs, recorded on Linux 6.18, with the sum of their `Rss` in KiB.
const RECORDED: [(&str, &[u8], u64); 3] = [
    (
        "11 G1",
        include_bytes!("../recorded/smaps-11-g1.gz"),
        34_836,
    ),
    ("17 Z", include_bytes!("../recorded/smaps-17-z.gz"), 31_456),
    (
        "25 Serial",
        include_bytes!("../recorded/smaps-25-serial.gz"),
        30_808,
    ),
];

fn recorded(name: &str) -> Reading {
    let (_, bytes, _) = RECORDED
        .iter()
        .find(|(recorded, ..)| *recorded == name)
        .unwrap();
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(*bytes)
        .read_to_end(&mut text)
        .unwrap();
    let mut reading = Reading {
        mappings: smaps::parse(&text[..]).unwrap().mappings,
        ..Reading::default()
    };
    reading.facts.jvm = Some(Jvm::default());
    reading.facts.malloc.name = Some("glibc".to_owned());
    reading
}

fn of(owners: &[Owner], kind: Kind) -> Owner {
    owners
        .iter()
        .find(|owner| owner.kind == kind)
        .unwrap_or_else(|| panic!("{kind:?} in {owners:#?}"))
        .clone()
}

/// The owners of recorded JVMs add up to the kernel's sum, by shapes alone and with any claims.
#[test]
fn they_add_up() {
    for (name, _, kilobytes) in RECORDED {
        let mut reading = recorded(name);
        assert_eq!(Summary::of(&reading).rss, kilobytes << 10, "{name}");
        reading.claims.add(0, 1 << 40, Kind::JavaHeap, false);
        reading
            .claims
            .add(0x7000_0000_0000, 0x7f00_0000_0000, Kind::CodeCache, true);
        assert_eq!(Summary::of(&reading).rss, kilobytes << 10, "{name}");
    }
}

/// Shapes tell stacks, arenas, libraries and mapped files of a JVM that says nothing, and mark what is concluded.
#[test]
fn by_shape() {
    let owners = owners(&recorded("25 Serial"));
    let arenas = of(&owners, Kind::MallocArenas);
    assert!(
        arenas.count >= 10 && arenas.guessed == arenas.resident,
        "{arenas:?}"
    );
    let stacks = of(&owners, Kind::OtherStacks);
    assert!(stacks.count >= 10 && stacks.guessed > 0, "{stacks:?}");
    for kind in [
        Kind::Libraries,
        Kind::MappedFiles,
        Kind::JvmData,
        Kind::MallocMain,
    ] {
        assert_eq!(of(&owners, kind).guessed, 0, "{kind:?}");
    }
    // The code cache, as nobody has told of it.
    assert!(of(&owners, Kind::OtherCode).guessed > 0);
}

/// ZGC's three views of one file are one heap; a page that is resident through two of them is counted once, and named.
#[test]
fn views_of_the_heap() {
    let mut reading = recorded("17 Z");
    let is_view = |mapping: &&mut Mapping| mapping.name.starts_with("/memfd:java_heap");
    let views: Vec<&mut Mapping> = reading.mappings.iter_mut().filter(is_view).collect();
    assert_eq!(views.len(), 3);
    // A hundred pages through two views each: all of them count in both, and half in each one's Pss.
    for view in views.into_iter().take(2) {
        (view.rss, view.pss) = (400 << 10, 200 << 10);
    }
    let owners = owners(&reading);
    let (heap, again) = (
        of(&owners, Kind::JavaHeap),
        of(&owners, Kind::JavaHeapViews),
    );
    assert_eq!(
        (heap.resident, again.resident),
        ((568 + 400) << 10, 400 << 10)
    );
    assert_eq!((heap.committed, again.committed), (256 << 20, 512 << 20));
}

/// A mapping that several owners share is divided by the page map, and nothing of it is lost when pages come and go.
#[test]
fn shared_mappings() {
    let text = "10000-20000 rw-p 00000000 00:00 0 \nRss: 40 kB\n";
    let mut reading = Reading {
        mappings: smaps::parse(BufReader::new(text.as_bytes()))
            .unwrap()
            .mappings,
        ..Reading::default()
    };
    reading.claims.add(0x8000, 0x14000, Kind::JavaHeap, false);
    reading
        .claims
        .add(0x14000, 0x18000, Kind::ClassSpace, false);
    assert_eq!(
        shared_pieces(&reading),
        [(0x10000, 0x14000), (0x14000, 0x18000), (0x18000, 0x20000)]
    );
    for (heap, space, rest, expected) in [
        (16, 8, 16, [16, 8, 16]),
        // More than there was at the first look, and less.
        (16, 16, 32, [16, 16, 8]),
        (4, 0, 4, [4, 0, 36]),
    ] {
        let pieces = [
            ((0x10000, 0x14000), heap),
            ((0x14000, 0x18000), space),
            ((0x18000, 0x20000), rest),
        ];
        reading.pieces = pieces
            .map(|(range, kilobytes)| (range, kilobytes << 10))
            .into();
        let owners = owners(&reading);
        let found = [Kind::JavaHeap, Kind::ClassSpace, Kind::Anonymous]
            .map(|kind| of(&owners, kind).resident >> 10);
        assert_eq!(found, expected);
    }
}

/// Tables that are as long as a collector's would be for this heap are taken for them, and marked.
#[test]
fn tables() {
    let mut reading = recorded("11 G1");
    let heap = Heap {
        reserved: Some(256 << 20),
        ..Heap::default()
    };
    reading.facts.jvm = Some(Jvm {
        heap,
        ..Jvm::default()
    });
    let tables = of(&owners(&reading), Kind::CollectorTables);
    assert_eq!(
        (tables.committed, tables.guessed),
        ((8 << 20) + (512 << 10), tables.resident)
    );
}
