//! Which memory it is: pure judgements over one look or several.
//!
//! Numbers have to be large beside RSS, and still going on at the end, before they are called growth: a false verdict
//! costs a day. More than one cause is possible; none is an answer, too.

use serde::{Deserialize, Serialize};

use super::growth::Series;
use super::owners::Kind;
use super::reading::Summary;
use crate::report::units::{Bytes, Delta, Seconds};

mod growing;
mod heap;
mod standing;

/// Growth below this is noise of a warm JVM: compilers, collector threads, caches of the allocator.
pub const LEAST: u64 = 8 << 20;
/// And so is what is a smaller part of RSS than this.
const PART: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Full collections free next to nothing.
    HeapFull,
    /// Much of the heap is in use, and it is not known what collections leave of it.
    HeapHigh,
    HeapGrows,
    DescriptorsWithHeap,
    Descriptors,
    Threads,
    ClassLoaders,
    Classes,
    DirectBuffers,
    Native,
    /// It grows, and it is not known whether it is the heap's.
    Unknown,
    MappedFiles,
    SharedMemory,
    Code,
    DeepStacks,
    /// Spread over several owners.
    Spread,
    PageCache,
    RetainedByMalloc,
    DirectLimit,
    NearLimit,
    /// Of a single look: native memory is a large part.
    NativeLarge,
    NoGrowth,
    /// Of a single look with nothing to say.
    Nothing,
}

/// One cause with what speaks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub cause: Cause,
    /// One sentence.
    pub says: String,
    pub evidence: Vec<String>,
    /// Commands, or what to change.
    pub next: Vec<String>,
    /// How much it is about; findings are in this order.
    pub bytes: u64,
}

impl Finding {
    fn new(cause: Cause, bytes: u64, says: String) -> Finding {
        Finding {
            cause,
            says,
            evidence: Vec::new(),
            next: Vec::new(),
            bytes,
        }
    }

    fn evidence(mut self, line: impl Into<String>) -> Finding {
        self.evidence.push(line.into());
        self
    }

    fn evidences(mut self, lines: impl IntoIterator<Item = String>) -> Finding {
        self.evidence.extend(lines);
        self
    }

    fn next(mut self, line: impl Into<String>) -> Finding {
        self.next.push(line.into());
        self
    }
}

/// Everything that the judgements are made from.
pub(super) struct Looks<'a> {
    pub pid: u32,
    pub all: &'a [Summary],
    pub last: &'a Summary,
    /// Growth below this is none.
    pub least: u64,
}

impl Looks<'_> {
    pub fn resident(&self, kinds: &[Kind]) -> Series {
        Series::of(self.all, |look| {
            let owners = look
                .owners
                .iter()
                .filter(|owner| kinds.contains(&owner.kind));
            owners.map(|owner| owner.resident).sum()
        })
    }

    /// Resident memory of native code that is in use: what malloc keeps of freed blocks is not.
    pub fn native(&self) -> Series {
        let is_known = self.knows_malloc();
        Series::of(self.all, |look| {
            let owners = look.owners.iter().filter(|owner| owner.kind.is_native());
            let resident: u64 = owners.map(|owner| owner.resident).sum();
            let kept = if is_known {
                look.facts.malloc.releasable()
            } else {
                0
            };
            resident.saturating_sub(kept)
        })
    }

    /// At each look: what was not known at one must not come and go.
    pub fn knows_malloc(&self) -> bool {
        let mut looks = self.all.iter();
        looks.all(|look| look.facts.malloc.unknown.is_none())
    }

    pub fn seconds(&self) -> f64 {
        self.last.seconds - self.all.first().map_or(0.0, |first| first.seconds)
    }

    /// The JVM's heap has a known place, or there is no JVM: what is native is known.
    pub fn knows_heap(&self) -> bool {
        let has_heap = self
            .last
            .owners
            .iter()
            .any(|owner| owner.kind == Kind::JavaHeap);
        self.last.facts.jvm.is_none() || has_heap
    }

    /// `+310 MiB, 10.3 MiB/s`
    pub fn rate(&self, gain: u64) -> String {
        let per_second = gain as f64 / self.seconds().max(0.001);
        format!(
            "{}, {}/s",
            Delta(i128::from(gain)),
            Bytes(per_second as u64)
        )
    }
}

/// The findings, most important first; never empty where there was a look.
pub fn verdict(pid: u32, looks: &[Summary]) -> Vec<Finding> {
    let Some(last) = looks.last() else {
        return Vec::new();
    };
    let looks = Looks {
        pid,
        all: looks,
        last,
        least: LEAST.max(last.rss / PART),
    };
    let mut findings = if looks.all.len() > 1 {
        growing::findings(&looks)
    } else {
        Vec::new()
    };
    let grows = !findings.is_empty();
    let seen: Vec<Cause> = findings.iter().map(|finding| finding.cause).collect();
    findings.extend(
        standing::findings(&looks)
            .into_iter()
            .filter(|finding| !seen.contains(&finding.cause)),
    );
    findings.sort_by_key(|finding| {
        (
            finding.cause != Cause::HeapFull,
            std::cmp::Reverse(finding.bytes),
        )
    });
    if looks.all.len() > 1 && !grows {
        findings.push(no_growth(&looks));
    } else if findings.is_empty() {
        findings.push(nothing(&looks));
    }
    findings
}

/// `part` is at least so many percent of `whole`.
fn is_part(part: u64, whole: u64, percent: u64) -> bool {
    whole > 0 && u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
}

fn no_growth(looks: &Looks<'_>) -> Finding {
    let rss = Series::of(looks.all, |look| look.rss);
    let change = i128::from(rss.last()) - i128::from(rss.first());
    let says = format!(
        "No growth seen in {}: RSS {}, {}.",
        Seconds(looks.seconds()),
        Bytes(rss.last()),
        Delta(change)
    );
    Finding::new(Cause::NoGrowth, 0, says).next(format!(
        "offheap triage {} -d 10m   for slow growth",
        looks.pid
    ))
}

fn nothing(looks: &Looks<'_>) -> Finding {
    let largest: Vec<String> = looks
        .last
        .owners
        .iter()
        .take(3)
        .map(|owner| format!("{} {}", owner.kind.label(), Bytes(owner.resident)))
        .collect();
    let says = format!(
        "RSS {}: {}. Nothing stands out; growth takes two looks.",
        Bytes(looks.last.rss),
        largest.join(", ")
    );
    Finding::new(Cause::Nothing, 0, says).next(format!("offheap triage {} -d 30s", looks.pid))
}

#[cfg(test)]
mod tests;
