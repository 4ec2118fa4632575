use super::*;
use crate::triage::owners::Owner;
use crate::triage::reading::{Arena, Cgroup, Descriptors, Direct, Heap, Jvm, Pattern, Threads};

pub(super) const MIB: u64 = 1 << 20;

fn owner(kind: Kind, mebibytes: u64) -> Owner {
    Owner {
        kind,
        resident: mebibytes * MIB,
        guessed: 0,
        committed: 0,
        reserved: 1,
        swap: 0,
        count: 1,
    }
}

/// A JVM with a heap of 512 MiB, 200 MiB of it resident, and 40 MiB of malloc.
pub(super) fn look(seconds: f64) -> Summary {
    let owners = vec![
        owner(Kind::JavaHeap, 200),
        owner(Kind::MallocArenas, 40),
        owner(Kind::Metaspace, 30),
    ];
    let mut look = Summary {
        seconds,
        owners,
        ..Summary::default()
    };
    look.facts.threads = Threads {
        count: 50,
        patterns: vec![Pattern {
            name: "pool-#-thread-#".to_owned(),
            count: 20,
        }],
    };
    look.facts.descriptors = Some(Descriptors {
        count: 100,
        ..Descriptors::default()
    });
    look.facts.jvm = Some(Jvm {
        heap: Heap {
            max: Some(512 * MIB),
            used: Some(100 * MIB),
            ..Heap::default()
        },
        class_loaders: Some(10),
        classes: Some(5000),
        direct: Some(Direct {
            count: 10,
            capacity: 10 * MIB,
            reserved: 10 * MIB,
            max: 512 * MIB,
        }),
        ..Jvm::default()
    });
    look
}

/// Five looks, the n-th of which was changed by `change(n)`.
pub(super) fn looks(change: impl Fn(u64, &mut Summary)) -> Vec<Summary> {
    let changed = |n: u64| {
        let mut look = look(n as f64);
        change(n, &mut look);
        look.rss = look.owners.iter().map(|owner| owner.resident).sum();
        look
    };
    (0..5).map(changed).collect()
}

fn add(look: &mut Summary, kind: Kind, mebibytes: u64) {
    match look.owners.iter_mut().find(|owner| owner.kind == kind) {
        Some(owner) => owner.resident += mebibytes * MIB,
        None => look.owners.push(owner(kind, mebibytes)),
    }
}

pub(super) fn jvm(look: &mut Summary) -> &mut Jvm {
    look.facts.jvm.as_mut().unwrap()
}

pub(super) fn causes(looks: &[Summary]) -> Vec<Cause> {
    verdict(4242, looks)
        .into_iter()
        .map(|finding| finding.cause)
        .collect()
}

/// Nothing that changes is no growth; neither is a warm-up in the first half, noise, or what shrinks.
#[test]
fn no_growth() {
    assert_eq!(causes(&looks(|_, _| {})), [Cause::NoGrowth]);
    assert_eq!(
        causes(&looks(|n, look| add(
            look,
            Kind::MallocArenas,
            if n > 0 { 100 } else { 0 }
        ))),
        [Cause::NoGrowth]
    );
    assert_eq!(
        causes(&looks(|n, look| add(look, Kind::MallocArenas, n))),
        [Cause::NoGrowth]
    );
    assert_eq!(
        causes(&looks(|n, look| add(look, Kind::JavaHeap, 100 - 20 * n))),
        [Cause::NoGrowth]
    );
    let says = &verdict(1, &looks(|_, _| {}))[0].says;
    assert_eq!(says, "No growth seen in 4 s: RSS 270 MiB, +0 B.");
}

/// A slope of one owner is that owner's cause and no other.
#[test]
fn each_owner() {
    for (kind, cause) in [
        (Kind::MallocArenas, Cause::Native),
        (Kind::Anonymous, Cause::Native),
        (Kind::JavaHeap, Cause::HeapGrows),
        (Kind::Metaspace, Cause::Classes),
        (Kind::MappedFiles, Cause::MappedFiles),
        (Kind::SharedMemory, Cause::SharedMemory),
        (Kind::CodeCache, Cause::Code),
        (Kind::JavaStacks, Cause::DeepStacks),
    ] {
        assert_eq!(
            causes(&looks(|n, look| add(look, kind, 10 * n))),
            [cause],
            "{kind:?}"
        );
    }
}

/// What malloc keeps of freed blocks is retention, also where it grows, and not growth of what is in use.
#[test]
fn retention() {
    let kept = looks(|n, look| {
        add(look, Kind::MallocArenas, 25 * n);
        look.facts.malloc.arenas = vec![Arena {
            releasable: 25 * n * MIB,
            ..Arena::default()
        }];
    });
    assert_eq!(causes(&kept), [Cause::RetainedByMalloc]);
    assert!(
        verdict(1, &kept)[0]
            .evidence
            .iter()
            .any(|line| line.contains("grows"))
    );
    let same = looks(|_, look| {
        add(look, Kind::MallocArenas, 100);
        look.facts.malloc.arenas = vec![Arena {
            releasable: 100 * MIB,
            ..Arena::default()
        }];
    });
    assert_eq!(causes(&same), [Cause::RetainedByMalloc, Cause::NoGrowth]);
    // What is freed makes the heaps emptier.
    let freed = looks(|n, look| {
        look.facts.malloc.arenas = vec![Arena {
            releasable: 7 * n * MIB,
            ..Arena::default()
        }];
    });
    assert_eq!(causes(&freed), [Cause::NoGrowth]);
    let little = looks(|n, look| {
        add(look, Kind::MallocArenas, 3 * n);
        look.facts.malloc.arenas = vec![Arena {
            releasable: (5 + 3 * n) * MIB,
            ..Arena::default()
        }];
    });
    assert_eq!(causes(&little), [Cause::NoGrowth]);
}

/// Threads, loaders, buffers and descriptors are told by their numbers, and what they put into malloc's memory is theirs.
#[test]
fn by_numbers() {
    let threads = looks(|n, look| {
        look.facts.threads.count += 50 * n;
        look.facts.threads.patterns[0].count += 50 * n;
        add(look, Kind::JavaStacks, 5 * n);
        add(look, Kind::MallocArenas, 3 * n);
    });
    assert_eq!(causes(&threads), [Cause::Threads]);
    assert!(
        verdict(1, &threads)[0]
            .says
            .contains("200 more of `pool-#-thread-#`")
    );

    let loaders = looks(|n, look| {
        add(look, Kind::Metaspace, 20 * n);
        add(look, Kind::MallocArenas, 4 * n);
        *jvm(look) = Jvm {
            class_loaders: Some(10 + 100 * n),
            ..jvm(look).clone()
        };
    });
    assert_eq!(causes(&loaders), [Cause::ClassLoaders]);

    let direct = looks(|n, look| {
        add(look, Kind::MallocLarge, 30 * n);
        jvm(look).direct.as_mut().unwrap().capacity += 30 * n * MIB;
    });
    assert_eq!(causes(&direct), [Cause::DirectBuffers]);

    let unread = looks(|n, look| {
        add(look, Kind::MallocLarge, 30 * n);
        jvm(look).direct = None;
    });
    assert_eq!(causes(&unread), [Cause::Native]);
    let evidence = &verdict(1, &unread)[0].evidence;
    assert!(evidence.iter().any(|line| line.contains("direct buffers")));

    let both = looks(|n, look| {
        add(look, Kind::MallocLarge, 50 * n);
        jvm(look).direct.as_mut().unwrap().capacity += 30 * n * MIB;
    });
    assert_eq!(causes(&both), [Cause::DirectBuffers, Cause::Native]);

    let open = |with_heap: u64| {
        looks(move |n, look| {
            look.facts.descriptors.as_mut().unwrap().count += 40 * n;
            jvm(look).heap.used = Some((100 + with_heap * n) * MIB);
        })
    };
    assert_eq!(causes(&open(0)), [Cause::Descriptors]);
    assert_eq!(causes(&open(2)), [Cause::DescriptorsWithHeap]);
}

/// A JVM that does not tell where its heap is can't be said to grow natively.
#[test]
fn unknown_heap() {
    let unknown = looks(|n, look| {
        look.owners.retain(|owner| owner.kind != Kind::JavaHeap);
        add(look, Kind::Anonymous, 100 * n);
    });
    assert_eq!(causes(&unknown), [Cause::Unknown]);
}

/// Page cache that fills the cgroup is not the JVM's; anonymous memory that does is a limit that is near.
#[test]
fn cgroups() {
    let of = |usage: u64, file: u64, anonymous: u64| {
        let mut look = look(0.0);
        look.rss = 80 << 30;
        look.facts.cgroup = Some(Cgroup {
            usage: Some(usage << 30),
            limit: Some(112 << 30),
            file: Some(file << 30),
            anonymous: Some(anonymous << 30),
            ..Cgroup::default()
        });
        causes(&[look])
    };
    assert_eq!(of(111, 35, 75), [Cause::PageCache]);
    assert_eq!(of(111, 2, 108), [Cause::NearLimit]);
    assert_eq!(of(60, 30, 30), [Cause::Nothing]);
}

/// A single look says what is native where that is much, and that growth takes two.
#[test]
fn one_look() {
    let mut large = look(0.0);
    add(&mut large, Kind::MallocArenas, 700);
    large.rss = 1000 * MIB;
    assert_eq!(causes(&[large]), [Cause::NativeLarge]);
    assert_eq!(causes(&[look(0.0)]), [Cause::Nothing]);
    assert_eq!(causes(&[]), []);
}
