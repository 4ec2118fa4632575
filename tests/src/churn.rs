//! What `targets.Churn` says of its chains of calls, and the comparison with all stacks that were captured of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use offheap::capture::{Capture, Frame, FrameKind, Site, SiteKind};
use serde::Deserialize;

use crate::checks::stack;
use crate::witness::{JavaFrame, Told, is_java, java_frame};

/// Frames by which the JVM links calls: it runs other ones at different times.
const LINKAGE: [&str; 3] = [
    "java.lang.invoke.",
    "jdk.internal.reflect.",
    "jdk.internal.vm.",
];
/// Classes of a family, each followed by the family's serial number.
const GENERATED: [&str; 3] = ["targets.Link", "targets.Hook", "targets.Tail"];
const DIGITS: usize = 6;
/// The method that goes along a family's chain.
const ALONG: &str = "targets.Churn.live";

/// One family: a chain of calls that takes memory at its end, again and again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    family: String,
    kind: SiteKind,
    /// What malloc is asked for; 0 for streams.
    bytes: u64,
    count: u64,
    /// Leaf first, as the JVM itself says.
    frames: Vec<Told>,
}

/// What a run shows of the stacks of its families.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Stacks with frames of generated classes.
    pub stacks: u64,
    /// Of them, those without an unknown frame that reach the thread's root.
    pub whole: u64,
    /// Allocations of a family that have its stack, out of `takes`.
    pub right: u64,
    pub takes: u64,
    /// Stacks that can't be, each with what is wrong.
    pub wrong: Vec<String>,
    /// Frames without a name, by reason and in stacks.
    pub unknown: BTreeMap<String, u64>,
}

impl Family {
    pub fn parse(line: &str) -> Family {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("the target told no family in {line}: {error}"))
    }

    /// Whether a site is what the family takes, and not what the JVM takes meanwhile.
    fn takes(&self, site: &Site) -> bool {
        let bytes = match self.kind {
            SiteKind::Malloc => self.bytes * site.allocated_count,
            _ => site.allocated_bytes,
        };
        site.kind == self.kind && site.allocated_bytes == bytes
    }

    fn told(&self) -> Vec<JavaFrame> {
        let frames = self.frames.iter().map(Told::frame);
        frames.filter(|frame| !is_linkage(&frame.name)).collect()
    }
}

/// Compares each stack in `capture` that a family is part of with that family's chain.
pub fn judge(families: &[Family], capture: &Capture) -> Verdict {
    let told: HashMap<&str, (&Family, Vec<JavaFrame>)> = families
        .iter()
        .map(|family| (family.family.as_str(), (family, family.told())))
        .collect();
    let mut verdict = Verdict {
        takes: families.iter().map(|family| family.count).sum(),
        ..Verdict::default()
    };
    let mut found: HashMap<String, u64> = HashMap::new();
    for site in &capture.sites {
        verdict.count_unknown(site);
        let frames: Vec<JavaFrame> = site
            .frames
            .iter()
            .filter(|frame| is_java(frame))
            .map(|frame| java_frame(frame))
            .collect();
        let Some(serial) = frames.iter().find_map(|frame| serial(&frame.name)) else {
            continue;
        };
        verdict.stacks += site.allocated_count;
        if is_whole(site) {
            verdict.whole += site.allocated_count;
        }
        let Some((family, told)) = told.get(serial) else {
            verdict.blame("of no family", site);
            continue;
        };
        match compare(told, &frames, site) {
            Ok(true) if family.takes(site) => {
                *found.entry(serial.to_owned()).or_default() += site.allocated_count;
            }
            Ok(_) => {}
            Err(fault) => verdict.blame(fault, site),
        }
    }
    for family in families {
        let count = found.get(&family.family).copied().unwrap_or(0);
        verdict.right += count.min(family.count);
        // The JVM itself inflates what it loads of its own classes.
        if family.kind == SiteKind::Malloc && count > family.count {
            verdict.wrong.push(format!("{count} stacks of {family:?}"));
        }
    }
    verdict
}

impl Verdict {
    fn blame(&mut self, fault: &str, site: &Site) {
        let lines = site
            .frames
            .iter()
            .filter(|frame| is_java(frame))
            .map(|frame| java_frame(frame));
        let lines: Vec<String> = lines
            .map(|frame| format!("    {} {:?}\n", frame.name, frame.line))
            .collect();
        self.wrong
            .push(format!("{fault}\n{}{}", lines.concat(), stack(site)));
    }

    fn count_unknown(&mut self, site: &Site) {
        let unknown = |frame: &&Arc<Frame>| frame.kind == FrameKind::Unknown;
        for frame in site.frames.iter().filter(unknown) {
            *self.unknown.entry(frame.name.clone()).or_default() += site.allocated_count;
        }
    }
}

/// Whether the Java frames of a stack are those that the JVM has there: true where it is the whole chain, and false where
/// the JVM itself has taken memory on the way along it.
fn compare(told: &[JavaFrame], frames: &[JavaFrame], site: &Site) -> Result<bool, &'static str> {
    let mut serials = frames.iter().filter_map(|frame| serial(&frame.name));
    let first = serials.next();
    if serials.any(|serial| Some(serial) != first) {
        return Err("of two families");
    }
    let frames: Vec<&JavaFrame> = frames
        .iter()
        .filter(|frame| !is_linkage(&frame.name))
        .collect();
    let leaf = frames
        .iter()
        .position(|frame| frame.name == told[0].name)
        // Where the JVM's own code is called without a safepoint, as by a collector's barrier, compilers note no line.
        .filter(|&leaf| is_whole(site) && frames[leaf].line.is_some());
    if let Some(leaf) = leaf {
        let same = |(captured, told): (&&JavaFrame, &JavaFrame)| *captured == told;
        // Called in the same line, before the memory is taken: the JVM fills its own stack trace.
        let frames = &frames[leaf..];
        let equal = frames.len() == told.len() && frames.iter().zip(told).all(same);
        return equal.then_some(true).ok_or("not as the JVM says");
    }
    on_the_way(told, &frames, site).map(|()| false)
}

/// Below a frame that is at another call, a stack has the frames that the whole chain has there. Frames that are known
/// are in this order also where others are unknown.
fn on_the_way(told: &[JavaFrame], frames: &[&JavaFrame], site: &Site) -> Result<(), &'static str> {
    let entered = |frame: &&&JavaFrame| frame.name == ALONG;
    let along = told.iter().find(|frame| frame.name == ALONG);
    // While the family is made its classes are not called along the chain.
    if frames.iter().find(entered).copied() != along {
        return Ok(());
    }
    // Where a lambda is linked, its object is made first.
    let is_made = |frame: &&JavaFrame| {
        let name = frame.name.as_str();
        let is_linked =
            name.contains("$$Lambda") && !name.ends_with(".go") && serial(name).is_some();
        is_linked || name.ends_with(".<init>") || name.ends_with(".<clinit>")
    };
    let mut below = frames
        .iter()
        .copied()
        .skip_while(|frame| serial(&frame.name).is_none() || is_made(frame))
        .skip(1)
        .filter(|frame| !is_made(frame));
    let fits = if is_whole(site) {
        let below: Vec<&JavaFrame> = below.collect();
        let told: Vec<&JavaFrame> = told.iter().collect();
        told.ends_with(&below)
    } else {
        let mut told = told.iter();
        below.all(|frame| told.any(|told| told == frame))
    };
    fits.then_some(()).ok_or("not a part of what the JVM says")
}

fn is_whole(site: &Site) -> bool {
    let known = |frame: &Arc<Frame>| frame.kind != FrameKind::Unknown;
    site.stack_end == "root" && site.frames.iter().all(known)
}

fn is_linkage(name: &str) -> bool {
    LINKAGE.iter().any(|package| name.starts_with(package))
}

/// The serial number of the family that a method is of.
fn serial(name: &str) -> Option<&str> {
    let rest = GENERATED
        .iter()
        .find_map(|class| name.strip_prefix(class))?;
    rest.get(..DIGITS)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}
