//! Loads the programs and probes the allocator of this very process, with each kind of link. Needs root.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use offheap::functions::Group;
use offheap::functions::pairs::Pairs;
use offheap::functions::resolve::{resolve, resolve_with};
use offheap::probes::{
    Capacities, Counts, LinkKind, Point, Probes, Setup, Support, Work, features,
};
use offheap::stack::ModuleId;
use tracer_common::config::Config;
use tracer_common::outcome::Outcome;

/// A prime that nothing else in this process asks for.
const SIZE: usize = 10_007;
const BLOCKS: usize = 500;

/// The tests share this process's allocator, so they run one at a time.
static ALLOCATOR: Mutex<()> = Mutex::new(());

fn root() -> Option<MutexGuard<'static, ()>> {
    // SAFETY: it takes nothing and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("skipped: attaching probes needs root");
    }
    root.then(|| ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner))
}

fn load(links: LinkKind) -> Result<Probes> {
    let tgid = std::process::id();
    let config = Config {
        tgid,
        stack_pages: 2,
        wakeup_bytes: u32::MAX,
        block_bytes: u32::MAX,
        offsets: offheap::probes::kernel_offsets(),
        max_size: u64::MAX,
        ..Config::default()
    };
    let setup = Setup {
        capacities: Capacities {
            ring_bytes: 1 << 20,
            blocks: 1 << 16,
            streams: 16,
            threads: 1 << 10,
            points: 64,
        },
        verbosity: 0,
        links: Some(links),
        sample_interval: 0,
        work: Work::Trace,
    };
    Probes::load(tgid, config, setup)
}

fn c_library() -> Result<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.contains("/libc.so"));
    let path = line.and_then(|line| line.split_whitespace().last());
    Ok(PathBuf::from(path.context("no libc.so is mapped")?))
}

fn allocator() -> Result<(Vec<Point>, PathBuf)> {
    let path = c_library()?;
    let mut found = resolve(&File::open(&path)?);
    found.retain(|found| found.function.group == Group::Malloc);
    let point = |found| Point::new(ModuleId(0), found);
    Ok((found.into_iter().map(point).collect(), path))
}

/// Blocks of our size, half of them allocated by another thread.
fn allocate() -> Vec<usize> {
    // SAFETY: malloc takes any size.
    let one = |_| unsafe { libc::malloc(SIZE) } as usize;
    let half = || (0..BLOCKS / 2).map(one).collect::<Vec<usize>>();
    let other = std::thread::scope(|scope| scope.spawn(half).join());
    [half(), other.unwrap_or_default()].concat()
}

fn free(blocks: &[usize]) {
    for &block in blocks {
        // SAFETY: the block is malloc's, and this is the only place that frees it.
        unsafe { libc::free(block as *mut _) };
    }
}

fn outstanding(probes: &Probes) -> Result<usize> {
    let mut count = 0;
    probes.live_blocks(|_, block| count += usize::from(block.size == SIZE as u64))?;
    Ok(count)
}

/// Every call that was seen went exactly one way.
fn assert_conserved(probes: &Probes) -> Result<()> {
    let in_flight = probes.in_flight()?;
    for (counts, in_flight) in probes.counts()?.iter().zip(in_flight) {
        let beside = [
            Outcome::StackLost,
            Outcome::Spilled,
            Outcome::LifetimeLost,
            Outcome::Counted,
        ];
        let beside: u64 = beside.into_iter().map(|way| counts.get(way)).sum();
        let out = counts.0[1..].iter().sum::<u64>() - beside;
        assert_eq!(counts.get(Outcome::Seen), out + in_flight, "{counts:?}");
    }
    Ok(())
}

fn counts_exactly(links: LinkKind) -> Result<()> {
    let mut probes = load(links)?;
    assert_eq!(probes.link_kind(), links);
    let (mut points, file) = allocator()?;
    let mut broken = points[0].clone();
    broken.entry = fs::metadata(&file)?.len() + 4096;
    points.insert(1, broken);
    probes.attach(points, &file);
    for (index, point) in probes.points.iter().enumerate() {
        let error = point.error.as_deref().unwrap_or_default();
        let broken = error.contains("the offset is not in the file");
        assert_eq!((broken, error.is_empty()), (index == 1, index != 1));
    }
    let blocks = allocate();
    assert_eq!(outstanding(&probes)?, BLOCKS);
    free(&blocks[..BLOCKS / 5]);
    assert_eq!(outstanding(&probes)?, BLOCKS - BLOCKS / 5);
    probes.detach();
    assert_conserved(&probes)?;
    let before: Vec<Counts> = probes.counts()?;
    free(&blocks[BLOCKS / 5..]);
    free(&allocate());
    assert_eq!(probes.counts()?, before, "a probe is still there");
    assert_eq!(outstanding(&probes)?, BLOCKS - BLOCKS / 5);
    Ok(())
}

/// Session links see every thread of the target, count exactly beside a point that cannot be attached, and are gone after
/// the detach.
#[test]
fn session_links_count_exactly() -> Result<()> {
    let Some(_guard) = root() else { return Ok(()) };
    counts_where_supported(LinkKind::Session, &features().uprobe_session, [6, 13])
}

/// Multi-uprobe links, the way of kernels before sessions, do the same.
#[test]
fn multi_links_count_exactly() -> Result<()> {
    let Some(_guard) = root() else { return Ok(()) };
    counts_where_supported(LinkKind::Multi, &features().uprobe_multi, [6, 10])
}

fn counts_where_supported(links: LinkKind, support: &Support, since: [u32; 2]) -> Result<()> {
    if *support == Support::Yes {
        return counts_exactly(links);
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    let old = numbers.collect::<Vec<u32>>() < since.to_vec();
    assert!(old, "Linux {release} has {links}: {support}");
    eprintln!("skipped: {links}: {support}");
    Ok(())
}

/// A group that is not recorded is counted and nothing else, and what it does meanwhile is not outstanding.
#[test]
fn what_is_not_recorded_is_counted() -> Result<()> {
    let Some(_guard) = root() else { return Ok(()) };
    let mut probes = load(LinkKind::best())?;
    let (points, file) = allocator()?;
    probes.attach(points, &file);
    probes.record(&[Group::Zlib, Group::Mmap])?;
    let unseen = allocate();
    assert_eq!(outstanding(&probes)?, 0);
    let counted = |probes: &Probes| -> Result<u64> {
        Ok(probes
            .counts()?
            .iter()
            .map(|counts| counts.get(Outcome::Counted))
            .sum())
    };
    probes.record(&Group::ALL)?;
    let before = counted(&probes)?;
    assert!(before >= BLOCKS as u64, "{before}");
    free(&unseen);
    let blocks = allocate();
    assert_eq!(outstanding(&probes)?, BLOCKS);
    assert_eq!(counted(&probes)?, before);
    probes.detach();
    free(&blocks);
    assert_conserved(&probes)
}

/// Perf links, the way of the oldest kernels, do the same.
#[test]
fn perf_links_count_exactly() -> Result<()> {
    let Some(_guard) = root() else { return Ok(()) };
    counts_exactly(LinkKind::Perf)
}

/// Objects of pairs, one whose return is probed and one whose exits are, are counted with each kind of link that the kernel
/// has.
#[test]
fn objects_of_pairs_are_counted_with_each_link() -> Result<()> {
    let Some(_guard) = root() else { return Ok(()) };
    let supported = [
        (LinkKind::Session, &features().uprobe_session),
        (LinkKind::Multi, &features().uprobe_multi),
        (LinkKind::Perf, &Support::Yes),
    ];
    for (links, support) in supported {
        match support {
            Support::Yes => count_objects(links)?,
            lacking => eprintln!("skipped: {links}: {lacking}"),
        }
    }
    Ok(())
}

fn count_objects(links: LinkKind) -> Result<()> {
    let mut probes = load(links)?;
    let file = c_library()?;
    let pairs = Pairs::select(&["file".to_owned(), "dlopen".to_owned()], &[], &[]);
    let pairs = pairs.map_err(anyhow::Error::msg)?;
    let wanted = pairs.in_file(&file.display().to_string());
    let mut found = resolve_with(&File::open(&file)?, &wanted);
    found.retain(|found| found.function.group == Group::Pairs);
    let point = |found| Point::new(ModuleId(0), found);
    probes.attach(found.into_iter().map(point).collect(), &file);
    for point in &probes.points {
        assert_eq!(point.error, None, "{links}: {}", point.symbol);
    }
    let open = || -> Result<[usize; 2]> {
        let mut open = [0; 2];
        probes.live_objects(|key, object| {
            let is_library = probes.points[object.point as usize].symbol == "dlopen";
            open[usize::from(is_library)] += usize::from(key.object != 0);
        })?;
        Ok(open)
    };
    // SAFETY: the strings end with a zero, and each stream and handle is closed once.
    unsafe {
        let streams = [(); 5].map(|()| libc::fopen(c"/proc/self/stat".as_ptr(), c"r".as_ptr()));
        let this = libc::dlopen(std::ptr::null(), libc::RTLD_NOW);
        assert!(libc::fopen(c"/nowhere".as_ptr(), c"r".as_ptr()).is_null());
        libc::fclose(streams[0]);
        libc::fclose(streams[1]);
        assert_eq!(open()?, [3, 1], "{links}");
        streams[2..].iter().for_each(|stream| {
            libc::fclose(*stream);
        });
        libc::dlclose(this);
    }
    assert_eq!(open()?, [0, 0], "{links}");
    probes.detach();
    let failed = probes
        .counts()?
        .iter()
        .map(|c| c.get(Outcome::Failed))
        .sum::<u64>();
    assert_eq!(failed, 1, "{links}");
    assert_conserved(&probes)
}
