//! The numbers of a capture that are not sites: functions, losses, costs.

use std::collections::BTreeMap;

use tracer_common::outcome::Outcome;

use super::Trace;
use super::tally::Tally;
use crate::accounts::StackCounts;
use crate::capture::{Completeness, Function, Jvm as CapturedJvm, Tracer};
use crate::probes::{Counts, Point};
use crate::unwind::Jvm;

/// Outcomes that are reported as losses, by the name that the report gives them.
const LOSSES: [(Outcome, &str); 6] = [
    (Outcome::StackLost, "stack lost: ring full"),
    (Outcome::LifetimeLost, "lifetime lost: ring full"),
    (Outcome::Spilled, "kept by the tracer: map full"),
    (Outcome::Untracked, "not recorded: ring full"),
    (
        Outcome::InFlightFull,
        "not recorded: too many calls at once",
    ),
    (Outcome::Abandoned, "call never returned"),
];

impl Trace {
    pub(super) fn functions(&self, tally: &Tally) -> Vec<Function> {
        let in_flight = tally.in_flight.iter().copied().chain(std::iter::repeat(0));
        let rows = self.probes.points.iter().zip(&tally.counts).zip(in_flight);
        rows.map(|((point, counts), in_flight)| self.function(point, counts, in_flight))
            .collect()
    }

    fn function(&self, point: &Point, counts: &Counts, in_flight: u64) -> Function {
        let module = self.modules.get(point.module);
        let ways_out =
            |outcomes: &[Outcome]| outcomes.iter().map(|outcome| counts.get(*outcome)).sum();
        Function {
            name: point.symbol.clone(),
            group: point.function.group.as_str().to_owned(),
            pair: self.pair_name(point.function.pair.map(|of| of.pair)),
            file: module
                .map(|module| module.path.display().to_string())
                .unwrap_or_default(),
            build_id: module.and_then(|module| module.build_id.clone()),
            offset: point.offset(),
            instruction: point.placement.instruction.clone(),
            emulated: point.placement.emulated,
            seen: counts.get(Outcome::Seen),
            failed: counts.get(Outcome::Failed),
            recorded: counts.get(Outcome::Recorded),
            unsampled: counts.get(Outcome::Unsampled),
            filtered: ways_out(&[
                Outcome::OutOfRange,
                Outcome::Nested,
                Outcome::Null,
                Outcome::Referenced,
            ]),
            lost: ways_out(&[
                Outcome::InFlightFull,
                Outcome::Abandoned,
                Outcome::Untracked,
            ]),
            in_flight,
            returns: point.traps(counts, self.probes.link_kind()).returns,
            counted: counts.get(Outcome::Counted),
            attached_after_seconds: point.attached_after,
            error: point.error.clone(),
        }
    }

    pub(super) fn losses(&self, tally: &Tally) -> BTreeMap<String, u64> {
        let mut losses = BTreeMap::new();
        let mut add = |name: &str, count: u64| {
            if count > 0 {
                losses.insert(name.to_owned(), count);
            }
        };
        for (outcome, name) in LOSSES {
            let counted: u64 = tally.counts.iter().map(|counts| counts.get(outcome)).sum();
            let ours = match outcome {
                Outcome::StackLost => self.probes.waiting().lost,
                _ => 0,
            };
            add(name, counted + ours);
        }
        add("record without sense", self.accounts.malformed);
        add("page not kept: too many", self.accounts.forgotten_pages);
        add("stack not kept: too many", self.accounts.ledger.folded);
        let refused = self
            .probes
            .points
            .iter()
            .filter(|point| point.error.is_some())
            .count();
        add("function without a probe", refused as u64);
        losses
    }

    pub(super) fn completeness(&self) -> Completeness {
        let StackCounts {
            taken,
            complete,
            ends,
        } = &self.accounts.stacks;
        Completeness {
            stacks: *taken,
            complete: *complete,
            ends: ends
                .iter()
                .map(|(end, count)| (end.as_str().to_owned(), *count))
                .collect(),
            ..Completeness::default()
        }
    }

    pub(super) fn tracer(&self, tally: &Tally) -> Tracer {
        let (cpu_seconds, max_rss) = own_usage();
        let links = self.probes.link_kind();
        let points = self.probes.points.iter().zip(&tally.counts);
        let hits = points.map(|(point, counts)| {
            let traps = point.traps(counts, links);
            traps.entries + traps.returns
        });
        Tracer {
            cpu_seconds,
            max_rss,
            probe_hits: hits.sum(),
            trap_ns: self.cost.trap,
            budget: self.keeper.budget(),
            high_water: self
                .high_water
                .iter()
                .map(|(name, fill)| ((*name).to_owned(), *fill))
                .collect(),
            first_probe_ms: self.start.first_probe_ms,
            all_probes_ms: self.start.all_probes_ms,
            detach_ms: self.cost.detach_ms,
        }
    }

    pub(super) fn jvm(&self) -> Option<CapturedJvm> {
        match self.accounts.unwinder.jvm() {
            Jvm::None => None,
            Jvm::Supported(version) => Some(CapturedJvm {
                name: version.name.clone(),
                version: version.version.clone(),
                unsupported: None,
            }),
            Jvm::Unsupported(reason) => Some(CapturedJvm {
                name: "unknown JVM".to_owned(),
                version: String::new(),
                unsupported: Some(reason.to_string()),
            }),
        }
    }
}

/// CPU seconds and peak resident bytes of this process.
fn own_usage() -> (f64, u64) {
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is one valid rusage. The call cannot fail for RUSAGE_SELF.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    // getrusage(2): ru_maxrss is in KiB.
    (
        seconds(usage.ru_utime) + seconds(usage.ru_stime),
        usage.ru_maxrss as u64 * 1024,
    )
}
