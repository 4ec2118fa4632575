//! Snapshots of literal accounts: neither kernel nor target is needed.

use super::*;
use crate::accounts::{Maker, Rules, Scene};
use crate::events::{Allocation, AllocationKey, End, Event, RawStack};
use crate::functions::FUNCTIONS;
use crate::functions::resolve::Found;
use crate::ledger::Intervals;
use crate::stack::{Frame, ModuleId, StackEnd};
use crate::target::modules::ModuleTable;
use crate::unwind::Unwinder;
use crate::unwind::memory::RecordedMemory;

const PAGE: u64 = 4096;

struct Books {
    accounts: Accounts<RecordedMemory>,
    points: Vec<Point>,
    modules: ModuleTable,
    live: Live,
}

impl Books {
    fn new(interval: u64) -> Books {
        let rules = Rules {
            intervals: Intervals::new(interval),
        };
        let points = FUNCTIONS.iter().map(|function| {
            let symbol = function.name.to_owned();
            Point::new(
                ModuleId(0),
                Found {
                    function: *function,
                    symbol,
                    offset: 0,
                    code: Vec::new(),
                    leaf: false,
                },
            )
        });
        Books {
            accounts: Accounts::new(Unwinder::new(RecordedMemory::default()), rules),
            points: points.collect(),
            modules: ModuleTable::default(),
            live: Live::default(),
        }
    }

    fn point(name: &str) -> u32 {
        FUNCTIONS
            .iter()
            .position(|function| function.name == name)
            .unwrap() as u32
    }

    fn book(&mut self, event: Event, caller: u64) {
        let frames = vec![Frame::Native {
            module: ModuleId(0),
            offset: caller,
        }];
        let maker = event.made().map(|_| Maker {
            stack: Stack {
                frames,
                end: StackEnd::Root,
            },
            thread: None,
        });
        let scene = Scene {
            modules: &self.modules,
            points: &self.points,
            inner_tids: &HashMap::new(),
        };
        self.accounts.book(event, maker, scene);
    }

    /// `malloc` returned: the kernel tracks the block, and its event is booked.
    fn allocate(&mut self, address: u64, size: u64, time: u64) {
        let point = Books::point("malloc");
        self.live.blocks.push((
            address,
            LiveBlock {
                time,
                size,
                point: point as u16,
                level: self.accounts.rules.intervals.level(),
                tid: 1,
            },
        ));
        let level = self.accounts.rules.intervals.level();
        let block = Allocation {
            level,
            ..made(address, size, time, "malloc")
        };
        self.book(Event::Allocated(block), 0x10);
    }

    fn map(&mut self, address: u64, pages: u64, time: u64, protection: u32) {
        self.book(
            Event::Mapped {
                protection,
                region: made(address, pages * PAGE, time, "mmap"),
            },
            0x20,
        );
    }

    fn open(&mut self, address: u64, time: u64, replaced: Option<u64>) {
        let point = Books::point("deflateInit2_");
        self.live.streams.retain(|(other, _)| *other != address);
        self.live.streams.push((
            address,
            LiveStream {
                time,
                point,
                ..LiveStream::default()
            },
        ));
        let stream = made(address, 0, time, "deflateInit2_");
        self.book(
            Event::Opened {
                stream,
                window_bits: 15,
                mem_level: 8,
                replaced,
            },
            0x30,
        );
    }

    fn take(
        &mut self,
        mappings: Option<&[Mapped]>,
        baseline: Option<&[Mapped]>,
        made_before: u64,
    ) -> Snapshot {
        let sources = Sources::<RecordedMemory> {
            live: &self.live,
            points: &self.points,
            mappings,
            baseline,
            memory: None,
            pages: None,
            malloc: true,
            made_before,
            now: 100,
        };
        super::take(&mut self.accounts, &sources)
    }

    /// Bytes and count of the only malloc site and the only stream site, as a reading sees them.
    fn held(&mut self, heard: bool) -> [(f64, f64); 2] {
        let sources = Sources::<RecordedMemory> {
            live: if heard { &Live::default() } else { &self.live },
            points: &self.points,
            mappings: None,
            baseline: None,
            memory: None,
            pages: None,
            malloc: true,
            made_before: u64::MAX,
            now: 100,
        };
        let held = super::held(&mut self.accounts, &sources, heard);
        let sites = self.accounts.ledger.sites.iter().zip(held);
        let of = |kind: SiteKind| {
            let mut found = sites.clone().filter(|((key, _), _)| key.kind == kind);
            found
                .next()
                .map_or((0.0, 0.0), |(_, held)| (held.bytes, held.count))
        };
        [of(SiteKind::Malloc), of(SiteKind::Deflate)]
    }
}

/// A reading of the events alone is what the kernel's maps say, for blocks and streams, sampled ones by their weight; and
/// where an end was lost it is the maps that are believed.
#[test]
fn readings_are_what_the_maps_say() {
    let mut books = Books::new(0);
    books.allocate(0x1000, 97, 5);
    books.allocate(0x2000, 101, 6);
    books.open(0x8000, 7, None);
    let truth = books.take(None, None, u64::MAX);
    let outstanding = only(&truth, SiteKind::Malloc).outstanding;
    let stream = only(&truth, SiteKind::Deflate).outstanding;
    let expected = [
        (outstanding.bytes, outstanding.count),
        (stream.bytes, stream.count),
    ];
    assert_eq!(expected[0], (198.0, 2.0));
    assert_eq!((books.held(true), books.held(false)), (expected, expected));
    // The kernel has seen a block's end, and nobody heard of it.
    books.live.blocks.retain(|(address, _)| *address != 0x1000);
    assert_eq!(books.held(true)[0], (198.0, 2.0));
    assert_eq!(books.held(false)[0], (101.0, 1.0));
}

fn made(address: u64, size: u64, time: u64, function: &str) -> Allocation {
    let stack = RawStack {
        ip: 0,
        sp: 0,
        fp: 0,
        lr: 0,
        at_return: false,
        truncated: false,
        replaced: Default::default(),
        anchor: None,
        bytes: bytes::Bytes::new(),
        missing: 0,
    };
    let key = AllocationKey { address, time };
    Allocation {
        key,
        size,
        point: Books::point(function),
        level: 0,
        tid: 1,
        comm: [0; 16],
        spilled: false,
        stack_lost: false,
        stack,
    }
}

fn only(snapshot: &Snapshot, kind: SiteKind) -> &SiteSnapshot {
    let mut sites = snapshot.sites.iter().filter(|site| site.kind == kind);
    let site = sites.next().unwrap();
    assert!(sites.next().is_none(), "{kind:?} has one site");
    site
}

/// A block counts while the kernel tracks it, whatever was heard of it.
#[test]
fn the_kernel_says_what_is_outstanding() {
    let mut books = Books::new(0);
    books.allocate(0x1000, 97, 5);
    books.allocate(0x2000, 101, 7);
    books.live.blocks.retain(|(address, _)| *address != 0x1000);
    let snapshot = books.take(None, None, u64::MAX);
    let site = only(&snapshot, SiteKind::Malloc);
    assert_eq!(
        (site.outstanding.bytes, site.outstanding.count),
        (101.0, 1.0)
    );
    assert_eq!(
        (site.outstanding.oldest, site.outstanding.newest),
        (Some(7), Some(7))
    );
    assert_eq!(
        (site.totals.allocated_bytes, site.totals.allocated_count),
        (198.0, 2.0)
    );
}

/// A tracked block whose event was lost stands under its function, marked as lost.
#[test]
fn a_lost_event_loses_no_byte() {
    let mut books = Books::new(0);
    books.live.blocks.push((
        0x1000,
        LiveBlock {
            time: 5,
            size: 97,
            point: Books::point("malloc") as u16,
            level: 0,
            tid: 1,
        },
    ));
    let snapshot = books.take(None, None, u64::MAX);
    let site = only(&snapshot, SiteKind::Malloc);
    assert_eq!(
        (site.outstanding.bytes, site.stack.end),
        (97.0, StackEnd::Lost)
    );
}

/// Younger allocations than asked for are left out.
#[test]
fn only_what_is_old_enough_counts() {
    let mut books = Books::new(0);
    books.allocate(0x1000, 97, 5);
    books.allocate(0x2000, 101, 7);
    let snapshot = books.take(None, None, 6);
    assert_eq!(only(&snapshot, SiteKind::Malloc).outstanding.bytes, 97.0);
}

/// Sampled blocks count by weight, and say that they are estimates.
#[test]
fn sampled_blocks_are_weighted() {
    let mut books = Books::new(524_288);
    books.allocate(0x1000, 363_409, 5);
    let sources = Sources::<RecordedMemory> {
        live: &books.live.clone(),
        points: &books.points,
        mappings: None,
        baseline: None,
        memory: None,
        pages: None,
        malloc: true,
        made_before: u64::MAX,
        now: 100,
    };
    let snapshot = super::take(&mut books.accounts, &sources);
    let held = only(&snapshot, SiteKind::Malloc).outstanding;
    assert!(
        held.estimated && (held.count - 2.0).abs() < 0.001,
        "p = 1 − e^(−0.69315) = 0.5: {held:?}"
    );
}

/// A block keeps the weight of the interval that chose it, also after that has been widened.
#[test]
fn a_wider_interval_leaves_older_blocks_their_weight() {
    let mut books = Books::new(0);
    books.allocate(0x1000, 363_409, 5);
    books.accounts.rules.intervals.push(524_288);
    books.allocate(0x2000, 363_409, 7);
    let snapshot = books.take(None, None, u64::MAX);
    let site = only(&snapshot, SiteKind::Malloc);
    let (held, totals) = (site.outstanding, site.totals);
    assert!(
        held.estimated && (held.count - 3.0).abs() < 0.001,
        "{held:?}"
    );
    assert!((totals.allocated_count - 3.0).abs() < 0.001, "{totals:?}");
}

/// The target's mappings tell what is committed, what is reserved and what is gone; a cut mapping is still one.
#[test]
fn mappings_are_split_by_access() {
    let mut books = Books::new(0);
    books.map(10 * PAGE, 10, 5, 0);
    books.book(
        Event::Unmapped {
            address: 14 * PAGE,
            length: PAGE,
            now: 100,
        },
        0,
    );
    let mapped = |from: u64, to: u64, accessible| Mapped {
        start: from * PAGE,
        end: to * PAGE,
        accessible,
    };
    let mappings = [
        mapped(0, 12, true),
        mapped(12, 14, false),
        mapped(15, 17, false),
    ];
    let snapshot = books.take(Some(&mappings), None, u64::MAX);
    let held = only(&snapshot, SiteKind::Mmap).outstanding;
    assert_eq!(
        (held.bytes, held.reserved, held.count),
        (2.0 * PAGE as f64, 4 * PAGE, 1.0)
    );
}

/// When events of mappings were lost, what is mapped now and was not at the attach is counted all the same.
#[test]
fn unseen_mappings_are_counted() {
    let mut books = Books::new(0);
    books.map(10 * PAGE, 2, 5, 3);
    let mapped = |from: u64, to: u64| Mapped {
        start: from * PAGE,
        end: to * PAGE,
        accessible: true,
    };
    let mappings = [mapped(0, 4), mapped(10, 15)];
    let snapshot = books.take(Some(&mappings), Some(&[mapped(0, 4)]), u64::MAX);
    let lost = snapshot
        .sites
        .iter()
        .find(|site| site.stack.end == StackEnd::Lost)
        .unwrap();
    assert_eq!(
        (lost.outstanding.bytes, lost.outstanding.estimated),
        (3.0 * PAGE as f64, true)
    );
}

/// A mapping of which nothing is left counts as freed, once.
#[test]
fn mappings_end_with_their_last_part() {
    let mut books = Books::new(0);
    books.map(10 * PAGE, 4, 5, 3);
    books.book(
        Event::Unmapped {
            address: 10 * PAGE,
            length: PAGE,
            now: 100,
        },
        0,
    );
    let freed = |books: &Books| books.accounts.ledger.sites[0].1.freed_count;
    assert_eq!(freed(&books), 0.0);
    books.map(11 * PAGE, 3, 6, 3);
    assert_eq!(freed(&books), 1.0, "what was left of it was mapped over");
}

/// A stream that is set up again without an end stays outstanding: its memory can never be freed.
#[test]
fn replaced_streams_stay_outstanding() {
    let mut books = Books::new(0);
    books.open(0x1000, 5, None);
    books.open(0x1000, 7, Some(5));
    let snapshot = books.take(None, None, u64::MAX);
    let held = only(&snapshot, SiteKind::Deflate).outstanding;
    assert_eq!(
        (held.count, held.bytes, held.oldest),
        (2.0, 2.0 * 268_208.0, Some(5))
    );
}

/// The JVM's own threads end what the program forgot; that is told apart from an end by the program.
#[test]
fn cleaners_are_told_apart() {
    let mut books = Books::new(0);
    for time in [5, 7] {
        books.open(0x1000 * time, time, None);
    }
    for (time, name) in [
        (5, &b"Common-Cleaner\0\0"[..]),
        (7, &b"main\0\0\0\0\0\0\0\0\0\0\0\0"[..]),
    ] {
        let key = AllocationKey {
            address: 0x1000 * time,
            time,
        };
        let end = End {
            key,
            size: 0,
            point: Books::point("deflateEnd"),
            level: 0,
            tid: 1,
            now: 9,
        };
        books.book(
            Event::Closed {
                end,
                comm: name.try_into().unwrap(),
            },
            0,
        );
    }
    let totals = books.accounts.ledger.sites[0].1;
    assert_eq!((totals.freed_count, totals.freed_by_cleaner), (2.0, 1.0));
}
