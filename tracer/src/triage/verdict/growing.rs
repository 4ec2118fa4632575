//! Causes that are seen between looks.

use super::super::growth::{Series, difference};
use super::super::owners::Kind;
use super::super::reading::Jvm;
use super::{Cause, Finding, Looks, standing};
use crate::report::units::{Bytes, Count, Delta};

mod numbers;

/// Metaspace grows in small steps.
const LEAST_METASPACE: u64 = 4 << 20;
/// Loaders that an application may make once.
const LEAST_LOADERS: u64 = 8;

/// A loader's tables in malloc's memory are smaller than this part of its metadata.
const METADATA_PART: u64 = 3;
/// What malloc and the JVM keep for a thread: its arena's first page, buffers, handles.
const OF_THREAD: u64 = 64 << 10;

pub(super) fn findings(looks: &Looks<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = [
        numbers::threads(looks),
        metaspace(looks),
        direct(looks),
        native(looks),
        retained(looks),
        heap(looks),
        numbers::descriptors(looks),
        simple(looks, Cause::MappedFiles),
        simple(looks, Cause::SharedMemory),
        simple(looks, Cause::Code),
    ]
    .into_iter()
    .flatten()
    .collect();
    let causes: Vec<Cause> = found.iter().map(|finding| finding.cause).collect();
    if !causes.contains(&Cause::Threads) {
        found.extend(simple(looks, Cause::DeepStacks));
    }
    if found.is_empty() {
        found.extend(spread(looks));
    }
    found
}

fn jvm_number(looks: &Looks<'_>, value: impl Fn(&Jvm) -> Option<u64>) -> Series {
    Series::of(looks.all, |look| {
        look.facts.jvm.as_ref().and_then(&value).unwrap_or(0)
    })
}

fn metaspace(looks: &Looks<'_>) -> Option<Finding> {
    let bytes = looks.resident(&[Kind::Metaspace, Kind::ClassSpace]);
    if !bytes.grows(LEAST_METASPACE.max(looks.last.rss / 100)) {
        return None;
    }
    let loaders = jvm_number(looks, |jvm| jvm.class_loaders);
    let classes = jvm_number(looks, |jvm| jvm.classes);
    let rate = looks.rate(bytes.gain());
    let (cause, says) = match loaders.grows(LEAST_LOADERS) {
        true => (
            Cause::ClassLoaders,
            format!(
                "Metaspace grows ({rate}) with class loaders: {} more, {} in all.",
                Count(loaders.gain()),
                Count(loaders.last())
            ),
        ),
        false => (
            Cause::Classes,
            format!(
                "Metaspace grows ({rate}): {} more classes.",
                Count(classes.gain())
            ),
        ),
    };
    Some(
        Finding::new(cause, bytes.gain(), says)
            .evidence(format!(
                "{} classes more, {} in all",
                Count(classes.gain()),
                Count(classes.last())
            ))
            .next(format!(
                "jcmd {} VM.classloader_stats   which loaders",
                looks.pid
            ))
            .next(format!(
                "jcmd {} GC.class_histogram   what keeps them",
                looks.pid
            )),
    )
}

fn direct(looks: &Looks<'_>) -> Option<Finding> {
    let bytes = jvm_number(looks, |jvm| Some(jvm.direct?.capacity));
    if !bytes.grows(looks.least) {
        return None;
    }
    let count = jvm_number(looks, |jvm| Some(jvm.direct?.count));
    let max = looks.last.facts.jvm.as_ref()?.direct?.max;
    let says = format!(
        "Direct buffers grow: {}, {} more, {} in all.",
        looks.rate(bytes.gain()),
        Count(count.gain()),
        Bytes(bytes.last())
    );
    Some(
        Finding::new(Cause::DirectBuffers, bytes.gain(), says)
            .evidence(format!("{} direct buffers hold {} of {} that the JVM allows (MaxDirectMemorySize)", Count(count.last()), Bytes(bytes.last()), Bytes(max)))
            .next(format!("offheap capture {} -d 30s --hooks malloc   who allocates them", looks.pid))
            .next(format!("jcmd {} GC.class_histogram   are they still reachable (java.nio.DirectByteBuffer)?", looks.pid)),
    )
}

fn native(looks: &Looks<'_>) -> Option<Finding> {
    let native = looks.native();
    // What other causes put into malloc's memory is theirs.
    let direct = jvm_number(looks, |jvm| Some(jvm.direct?.capacity)).gain();
    let metadata = looks.resident(&[Kind::Metaspace, Kind::ClassSpace]).gain() / METADATA_PART;
    let threads = Series::of(looks.all, |look| look.facts.threads.count).gain() * OF_THREAD;
    let gain = native.gain().saturating_sub(direct + metadata + threads);
    if !native.grows(looks.least) || gain < looks.least {
        return None;
    }
    let blocks = looks.resident(&[
        Kind::MallocMain,
        Kind::MallocArenas,
        Kind::MallocLarge,
        Kind::OtherAllocator,
    ]);
    let unknown = looks.resident(&[Kind::Anonymous]);
    let of_malloc = blocks.gain() >= unknown.gain();
    let (cause, says) = match (looks.knows_heap(), of_malloc) {
        (true, true) => (
            Cause::Native,
            format!(
                "Native memory grows: {}, in malloc's heaps.",
                looks.rate(gain)
            ),
        ),
        (true, false) => (
            Cause::Native,
            format!(
                "Native memory grows: {}, mapped and not by malloc.",
                looks.rate(gain)
            ),
        ),
        (false, _) => (
            Cause::Unknown,
            format!(
                "Anonymous memory grows: {}; the JVM does not tell where its heap is.",
                looks.rate(gain)
            ),
        ),
    };
    let hooks = if of_malloc {
        "malloc,zlib"
    } else {
        "mmap,growth"
    };
    let pid = looks.pid;
    Some(
        Finding::new(cause, gain, says)
            .evidence(format!(
                "malloc {}, other anonymous memory {}",
                Delta(change(&blocks)),
                Delta(change(&unknown))
            ))
            .evidence(free_inside(looks))
            .evidences(unknown_direct(looks))
            .next(format!(
                "sudo offheap capture {pid} -d 30s --hooks {hooks}   whose Java and native stacks"
            )),
    )
}

/// Freed memory that malloc keeps more and more of: the program's peaks, or fragments. Blocks that are freed make its heaps
/// emptier and not larger: that is no growth. Nor are a few MiB, which arenas of busy threads keep soon after a start.
fn retained(looks: &Looks<'_>) -> Option<Finding> {
    let kept = Series::of(looks.all, |look| look.facts.malloc.releasable());
    let heaps = looks.resident(&[Kind::MallocMain, Kind::MallocArenas]);
    let grows = standing::keeps_much(looks)
        && looks.knows_malloc()
        && kept.grows(looks.least)
        && heaps.grows(looks.least);
    grows.then(|| {
        standing::kept_by_malloc(looks).evidence(format!("it grows: {}", looks.rate(kept.gain())))
    })
}

fn change(series: &Series) -> i128 {
    i128::from(difference(series.last(), series.first()))
}

/// Where the JVM's count of direct buffers can't be read, it may be they that grow.
fn unknown_direct(looks: &Looks<'_>) -> Option<String> {
    let jvm = looks.last.facts.jvm.as_ref()?;
    let unknown = looks.all.iter().any(|look| {
        let direct = look.facts.jvm.as_ref().map(|jvm| jvm.direct);
        direct == Some(None)
    });
    (unknown && jvm.unsupported.is_none())
        .then(|| "how much of it is direct buffers could not be read: it may be they".to_owned())
}

/// What malloc keeps of freed blocks.
fn free_inside(looks: &Looks<'_>) -> String {
    let malloc = &looks.last.facts.malloc;
    match &malloc.unknown {
        Some(reason) => format!("how much of it malloc only keeps is unknown: {reason}"),
        None => {
            let kept = Series::of(looks.all, |look| look.facts.malloc.releasable());
            format!(
                "of it malloc keeps {} that is freed already ({})",
                Bytes(kept.last()),
                Delta(change(&kept))
            )
        }
    }
}

fn heap(looks: &Looks<'_>) -> Option<Finding> {
    let resident = looks.resident(&[Kind::JavaHeap]);
    let after = jvm_number(looks, |jvm| jvm.heap.old_after_full);
    let full = jvm_number(looks, |jvm| {
        Some(
            jvm.collections
                .iter()
                .filter(|c| c.full)
                .map(|c| c.count)
                .sum(),
        )
    });
    // After full collections only what is reachable is left.
    let survives = full.gain() > 0 && after.first() > 0 && after.grows(looks.least);
    if !resident.grows(looks.least) && !survives {
        return None;
    }
    let jvm = looks.last.facts.jvm.as_ref()?;
    let max = jvm.heap.max.unwrap_or(0);
    let gain = resident.gain().max(if survives { after.gain() } else { 0 });
    let says = match survives {
        true => format!(
            "The Java heap grows: full collections leave {} more than before.",
            Bytes(after.gain())
        ),
        false => format!(
            "The Java heap grows: {} resident, {} of the {} that it may have.",
            looks.rate(resident.gain()),
            Bytes(resident.last()),
            Bytes(max)
        ),
    };
    let mut finding = Finding::new(Cause::HeapGrows, gain, says);
    if let Some(used) = jvm.heap.used {
        finding = finding.evidence(format!(
            "{} of the heap are in use, with what is not collected yet",
            Bytes(used)
        ));
    }
    Some(
        finding
            .evidence(format!("{} full collections meanwhile", Count(full.gain())))
            .next(format!(
                "jcmd {} GC.class_histogram   twice: what has become more",
                looks.pid
            )),
    )
}

/// Growth of memory that needs no more explanation.
fn simple(looks: &Looks<'_>, cause: Cause) -> Option<Finding> {
    let (kinds, what, next): (&[Kind], _, _) = match cause {
        Cause::MappedFiles => (
            &[Kind::MappedFiles],
            "Mapped files are read in: page cache, which the kernel can drop",
            "grep -A1 -e r--s -e rw-s /proc/PID/smaps   which files",
        ),
        Cause::SharedMemory => (
            &[Kind::SharedMemory],
            "Shared memory grows",
            "offheap capture PID -d 30s --hooks mmap",
        ),
        Cause::Code => (
            &[Kind::CodeCache, Kind::OtherCode],
            "Generated code grows",
            "jcmd PID Compiler.codecache",
        ),
        _ => (
            &[Kind::JavaStacks, Kind::OtherStacks],
            "Stacks grow deeper, with as many threads",
            "jcmd PID Thread.print",
        ),
    };
    let bytes = looks.resident(kinds);
    bytes.grows(looks.least).then(|| {
        let says = format!(
            "{what}: {}, {} in all.",
            looks.rate(bytes.gain()),
            Bytes(bytes.last())
        );
        Finding::new(cause, bytes.gain(), says).next(next.replace("PID", &looks.pid.to_string()))
    })
}

/// RSS has grown, and no owner by itself.
fn spread(looks: &Looks<'_>) -> Option<Finding> {
    let rss = Series::of(looks.all, |look| look.rss);
    if !rss.grows(2 * looks.least) {
        return None;
    }
    let changes = super::super::growth::changes(looks.all);
    let parts: Vec<String> = changes
        .iter()
        .take(3)
        .map(|change| {
            format!(
                "{} {}",
                change.kind.label(),
                Delta(i128::from(change.bytes))
            )
        })
        .collect();
    let says = format!(
        "RSS grows ({}), spread over several owners: {}.",
        looks.rate(rss.gain()),
        parts.join(", ")
    );
    Some(Finding::new(Cause::Spread, rss.gain(), says).next(format!(
        "offheap triage {} -d 10m   which of them goes on",
        looks.pid
    )))
}
