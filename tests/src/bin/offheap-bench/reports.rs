//! What it takes to render a big capture, and what the files weigh. Needs no target.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use offheap::report::{Format, Options, render};
use offheap_tests::captures;
use offheap_tests::tool::binary;
use tempfile::TempDir;

use crate::machine;
use crate::stats::{Goal, Series};
use crate::table::Table;

const SITES: usize = 10_000;
const SECONDS_GOAL: f64 = 3.0;
const RSS_GOAL: f64 = 500.0;
const HTML_GOAL: usize = 3_000_000;

const FORMATS: [Format; 7] = [
    Format::Text,
    Format::Html,
    Format::Svg,
    Format::Folded,
    Format::Pprof,
    Format::Speedscope,
    Format::Json,
];

pub fn run(rounds: usize) -> Result<()> {
    let capture = captures::many(SITES);
    let outstanding: u64 = capture
        .sites
        .iter()
        .map(|site| site.outstanding_count)
        .sum();
    let folder = TempDir::new().context("no temporary directory")?;
    let file = folder.path().join("capture.json");
    let mut json = Vec::new();
    render(&capture, Format::Json, &Options::default(), &mut json)?;
    fs::write(&file, json)?;
    drop(capture);

    let mut table = Table::new(["format", "bytes", "s, from the file", "peak RSS, MiB"]);
    let mut all = Series::default();
    let mut most = 0.0_f64;
    let mut html = 0;
    let mut rows: Vec<(Series, usize)> = vec![(Series::default(), 0); FORMATS.len()];
    let mut peaks = vec![0.0_f64; FORMATS.len()];
    for round in 0..rounds {
        let mut sum = 0.0;
        for (at, format) in FORMATS.into_iter().enumerate() {
            let spent = report(format, &file)?;
            sum += spent.seconds;
            rows[at].0.push(spent.seconds);
            rows[at].1 = spent.bytes;
            peaks[at] = peaks[at].max(spent.rss);
            most = most.max(spent.rss);
            if format == Format::Html {
                html = spent.bytes;
            }
        }
        all.push(sum);
        eprintln!(
            "reports: round {} of {rounds}, load {}",
            round + 1,
            machine::load()
        );
    }
    for (at, format) in FORMATS.into_iter().enumerate() {
        let (seconds, bytes) = &rows[at];
        table.row([
            format.word().to_owned(),
            bytes.to_string(),
            seconds.summary().range(2),
            format!("{:.0}", peaks[at]),
        ]);
    }
    let all = all.summary();
    table.row([
        "all, each by a process of its own".to_owned(),
        format!("html < {HTML_GOAL}: {}", Goal(html < HTML_GOAL)),
        format!(
            "{}; < {SECONDS_GOAL} s: {}",
            all.range(2),
            Goal(all.median < SECONDS_GOAL)
        ),
        format!(
            "{most:.0}; < {RSS_GOAL} MB: {}",
            Goal(most * 1.048576 < RSS_GOAL)
        ),
    ]);
    table.print(&format!(
        "Reports of {outstanding} outstanding allocations in {SITES} sites"
    ));
    Ok(())
}

/// What one report took.
struct Spent {
    seconds: f64,
    /// MiB.
    rss: f64,
    bytes: usize,
}

/// As a user would: the capture is read from its file, the report goes to another.
fn report(format: Format, file: &std::path::Path) -> Result<Spent> {
    let offheap = binary().context("OFFHEAP_BIN names no binary")?;
    let out = file.with_extension("out");
    let begin = std::time::Instant::now();
    let mut child = Command::new(offheap)
        .args(["report", "-f", format.word()])
        .arg(file)
        .stdout(fs::File::create(&out)?)
        .spawn()
        .context("cannot start offheap")?;
    let rss = peak_rss(&mut child)?;
    Ok(Spent {
        seconds: begin.elapsed().as_secs_f64(),
        rss,
        bytes: usize::try_from(fs::metadata(&out)?.len())?,
    })
}

/// Waits for the child; the kernel then knows the most that it held.
fn peak_rss(child: &mut std::process::Child) -> Result<f64> {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::uninit());
    let pid = i32::try_from(child.id())?;
    // SAFETY: both places are ours and big enough; the child is ours and not yet waited for.
    let waited = unsafe { libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) };
    ensure!(
        waited == pid && status == 0,
        "offheap report ended with status {status}"
    );
    // SAFETY: the call succeeded, so that it has filled the structure.
    let usage = unsafe { usage.assume_init() };
    Ok(usage.ru_maxrss as f64 / 1024.0)
}
