//! The report: text for people, JSON (`offheap.triage/1`) for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::ask;
use super::growth::{Change, resident};
use super::owners::Kind;
use super::reading::{Cgroup, Jvm, Malloc, Summary};
use super::verdict::Finding;
use crate::report::units::{Bytes, Count, Delta, Seconds};

pub const SCHEMA: &str = "offheap.triage/1";
/// Patterns of thread names and kinds of descriptors that are shown.
const SHOWN: usize = 6;

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    /// Of the tool.
    pub version: String,
    pub target: Target,
    /// Most important first.
    pub verdict: Vec<Finding>,
    /// Between the first look and the last, by owner; empty where there was one look.
    pub growth: Vec<Change>,
    pub looks: Vec<Summary>,
    pub asked: Asked,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub pid: u32,
    pub comm: String,
    pub cmdline: Vec<String>,
    pub container: Option<String>,
}

/// What came of `--ask-jvm`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// It was asked at all.
    pub asked: bool,
    /// It was sent a SIGQUIT, because it had no socket yet.
    pub signalled: bool,
    /// By command.
    pub answers: BTreeMap<String, String>,
    pub failed: Option<String>,
}

impl Report {
    /// # Errors
    /// Never, for these types.
    pub fn json(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.verdict {
            writeln!(f, "{}", finding.says)?;
            for line in &finding.evidence {
                writeln!(f, "  {line}")?;
            }
            for line in &finding.next {
                writeln!(f, "  -> {line}")?;
            }
        }
        let Some(last) = self.looks.last() else {
            return Ok(());
        };
        heading(f, self, last)?;
        table(f, last, &self.growth)?;
        footing(f, last)?;
        if let Some(jvm) = &last.facts.jvm {
            java(f, jvm)?;
        }
        malloc(f, &last.facts.malloc)?;
        if let Some(group) = &last.facts.cgroup {
            cgroup(f, group)?;
        }
        tasks(f, last)?;
        for line in ask::describe(&self.asked) {
            writeln!(f, "\n{line}")?;
        }
        for missing in &last.facts.missing {
            writeln!(f, "not known: {missing}")?;
        }
        Ok(())
    }
}

fn heading(f: &mut fmt::Formatter<'_>, report: &Report, last: &Summary) -> fmt::Result {
    let looks = match report.looks.len() {
        1 => "one look".to_owned(),
        n => format!(
            "{n} looks in {}",
            Seconds(last.seconds - report.looks[0].seconds)
        ),
    };
    writeln!(
        f,
        "\n{} (pid {}), RSS {} by owner, {looks}:\n",
        report.target.comm,
        report.target.pid,
        Bytes(last.rss)
    )?;
    let again = resident(last, Kind::JavaHeapViews);
    if again > 0 {
        writeln!(
            f,
            "ZGC maps its heap three times, so that RSS counts {} again: {} are taken.\n",
            Bytes(again),
            Bytes(last.rss - again)
        )?;
    }
    Ok(())
}

fn table(f: &mut fmt::Formatter<'_>, last: &Summary, growth: &[Change]) -> fmt::Result {
    writeln!(
        f,
        "{:>10}  {:>10}  {:>10}  {:>8}  {:>22}  OWNER",
        "RESIDENT", "COMMITTED", "RESERVED", "PIECES", "GROWTH"
    )?;
    for owner in &last.owners {
        let sign = if owner.guessed > 0 { "~" } else { "" };
        let change = growth.iter().find(|change| change.kind == owner.kind);
        let change = change.map_or(String::new(), |change| {
            format!(
                "{} ({}/s)",
                Delta(i128::from(change.bytes)),
                Delta(change.per_second as i128)
            )
        });
        writeln!(
            f,
            "{:>10}  {:>10}  {:>10}  {:>8}  {change:>22}  {}",
            format!("{sign}{}", Bytes(owner.resident)),
            Bytes(owner.committed).to_string(),
            Bytes(owner.reserved).to_string(),
            Count(owner.count).to_string(),
            owner.kind.label()
        )?;
    }
    writeln!(
        f,
        "{:>10}  {:48}          RSS: the sum of all, {} KiB",
        Bytes(last.rss).to_string(),
        "",
        Count(last.rss >> 10)
    )
}

fn footing(f: &mut fmt::Formatter<'_>, last: &Summary) -> fmt::Result {
    match last.facts.rollup_rss {
        Some(rollup) if rollup == last.rss => {
            writeln!(f, "\nsmaps_rollup says the same to the kilobyte.")?
        }
        Some(rollup) => writeln!(
            f,
            "\nsmaps_rollup, read right after, says {} KiB ({}): the process went on.",
            Count(rollup >> 10),
            Delta(i128::from(rollup) - i128::from(last.rss))
        )?,
        None => writeln!(f, "\nsmaps_rollup can't be read: the sum is that of smaps.")?,
    }
    if last.owners.iter().any(|owner| owner.guessed > 0) {
        writeln!(f, "~ concluded from how mappings look.")?;
    }
    writeln!(
        f,
        "not in RSS: swap {}, page tables {}",
        Bytes(last.facts.swap),
        Bytes(last.facts.page_tables)
    )
}

fn java(f: &mut fmt::Formatter<'_>, jvm: &Jvm) -> fmt::Result {
    let unknown = "?".to_owned();
    let size = |bytes: Option<u64>| bytes.map_or(unknown.clone(), |bytes| Bytes(bytes).to_string());
    write!(
        f,
        "\nJVM {}",
        jvm.version.as_deref().unwrap_or("of unknown version")
    )?;
    writeln!(
        f,
        ", {} collector, heap {} in use of {} at most",
        jvm.collector.as_deref().unwrap_or("unknown"),
        size(jvm.heap.used),
        size(jvm.heap.max)
    )?;
    if let Some(reason) = &jvm.unsupported {
        writeln!(f, "  its description of itself is not understood: {reason}")?;
    }
    for generation in &jvm.heap.generations {
        writeln!(
            f,
            "  {}: {} used after the last collection, of {}",
            generation.name,
            Bytes(generation.used),
            Bytes(generation.capacity)
        )?;
    }
    if let Some(left) = jvm.heap.old_after_full {
        writeln!(
            f,
            "  the last collection was a full one, and left {} in the old generation",
            Bytes(left)
        )?;
    }
    for kind in jvm.collections.iter().filter(|kind| kind.count > 0) {
        writeln!(
            f,
            "  {}: {} in {:.2} s",
            kind.name,
            Count(kind.count),
            kind.seconds
        )?;
    }
    if let (Some(loaders), Some(classes)) = (jvm.class_loaders, jvm.classes) {
        writeln!(
            f,
            "  {} class loaders, {} classes",
            Count(loaders),
            Count(classes)
        )?;
    }
    if let Some(direct) = jvm.direct.filter(|direct| direct.max > 0) {
        writeln!(
            f,
            "  {} direct buffers hold {} of {}; they lie in malloc's memory",
            Count(direct.count),
            Bytes(direct.capacity),
            Bytes(direct.max)
        )?;
    }
    let flags: Vec<String> = jvm
        .flags
        .iter()
        .filter_map(|(name, value)| flag(name, *value))
        .collect();
    writeln!(f, "  flags: {}", flags.join(", "))?;
    for (name, value) in &jvm.environment {
        writeln!(f, "  {name}={value}")?;
    }
    writeln!(f, "  counters: {}", jvm.perf_data)
}

/// Sizes that were set or chosen; 0 and the largest number mean that there is no limit.
fn flag(name: &str, value: u64) -> Option<String> {
    let is_size = name.ends_with("Size") && name != "ThreadStackSize";
    (is_size && value > 1 && value < 1 << 60).then(|| format!("{name} {}", Bytes(value)))
}

fn malloc(f: &mut fmt::Formatter<'_>, malloc: &Malloc) -> fmt::Result {
    let name = malloc.name.as_deref().unwrap_or("unknown");
    if let Some(reason) = &malloc.unknown {
        return writeln!(
            f,
            "\nallocator {name}: what is free inside is unknown ({reason})"
        );
    }
    let system: u64 = malloc.arenas.iter().map(|arena| arena.system).sum();
    let at_least = if malloc.is_partial() { "at least " } else { "" };
    writeln!(
        f,
        "\nallocator {name}: {} arenas took {} from the kernel, {} heaps of 64 MiB; free inside {at_least}{}, of it resident pages {}",
        Count(malloc.arenas.len() as u64),
        Bytes(system),
        Count(malloc.heaps),
        Bytes(malloc.free()),
        Bytes(malloc.releasable())
    )?;
    writeln!(
        f,
        "  {} large blocks with mappings of their own, {}",
        Count(malloc.large_count),
        Bytes(malloc.large_bytes)
    )
}

fn cgroup(f: &mut fmt::Formatter<'_>, group: &Cgroup) -> fmt::Result {
    let size = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| Bytes(bytes).to_string());
    let limit = group.limit.map_or("no limit".to_owned(), |limit| {
        let left = limit.saturating_sub(group.usage.unwrap_or(0));
        format!("limit {}, {} left", Bytes(limit), Bytes(left))
    });
    let view = if group.inside {
        ", as the target sees it"
    } else {
        ""
    };
    writeln!(
        f,
        "\ncgroup v{} {}{view}: {} used, {limit}",
        group.version,
        group.path,
        size(group.usage)
    )?;
    let mut line = format!(
        "  anonymous {}, page cache {}, shared {}, kernel {}",
        size(group.anonymous),
        size(group.file),
        size(group.shared),
        size(group.kernel)
    );
    if let Some(pressure) = group.pressure {
        write!(line, ", pressure {pressure:.2} %")?;
    }
    if let Some(kills) = group.oom_kills {
        write!(line, ", {} killed for memory", Count(kills))?;
    }
    writeln!(f, "{line}")
}

fn tasks(f: &mut fmt::Formatter<'_>, last: &Summary) -> fmt::Result {
    let threads = &last.facts.threads;
    let shown: Vec<String> = threads
        .patterns
        .iter()
        .take(SHOWN)
        .map(|pattern| format!("{} {}", Count(pattern.count), pattern.name))
        .collect();
    writeln!(
        f,
        "\n{} threads: {}",
        Count(threads.count),
        shown.join(", ")
    )?;
    if let Some(found) = &last.facts.descriptors {
        let kinds: Vec<String> = found
            .kinds
            .iter()
            .take(2 * SHOWN)
            .map(|(kind, count)| format!("{} {kind}", Count(*count)))
            .collect();
        let limit = found.limit.map_or(String::new(), |limit| {
            format!(" of {} allowed", Count(limit))
        });
        writeln!(
            f,
            "{} descriptors{limit}: {}",
            Count(found.count),
            kinds.join(", ")
        )?;
    }
    Ok(())
}
