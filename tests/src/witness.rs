//! The JVM's own word about a stack, and the comparison with what was captured.

use std::fmt::Write;

use offheap::capture::{Capture, Frame, FrameKind, Site, SiteKind};
use serde::Deserialize;

use crate::checks::stack;

/// How much of a stack the captured one shows. What it shows is as the JVM says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    Whole,
    /// All but the frames of a virtual thread that are in the heap, and says where.
    Unparked,
    /// The frames that were copied, and says so.
    LeafSide,
}

/// Stands in a stack for the frames of a virtual thread that are in the heap.
const PARKED: &str = "[virtual thread: parked frames]";
/// Where a carrier enters a virtual thread; some JDKs do not tell of the second.
const ENTRY: [&str; 2] = [
    "jdk.internal.vm.Continuation.run",
    "jdk.internal.vm.Continuation.enterSpecial",
];
/// To the frames of hidden classes JDK 8 gives their bytecode's index above this for a line.
const NO_LINE: u32 = 1_000_000;
/// Stands at the end of a stack that was not copied in whole.
const TRUNCATED_MARKER: &str = "[truncated]";
/// The end of a stack that was not copied in whole.
const TRUNCATED: &str = "truncated";

/// One allocation of `targets.Witness`, with the stack that the JVM has for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub path: String,
    pub means: String,
    kind: SiteKind,
    /// What malloc is asked for; 0 for streams.
    bytes: u64,
    /// Leaf first.
    frames: Vec<Told>,
}

/// A `StackTraceElement`.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    class: String,
    method: String,
    /// Negative where there is none.
    line: i64,
}

/// A Java frame, as both sides can say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JavaFrame {
    /// `class.method`.
    pub name: String,
    pub line: Option<u32>,
}

impl Told {
    /// Without what the JVM appends to the name of a hidden class, to tell it from others of that name.
    pub fn frame(&self) -> JavaFrame {
        let class = self.class.split(['/', '+']).next().unwrap_or_default();
        JavaFrame {
            name: format!("{class}.{}", self.method),
            line: u32::try_from(self.line)
                .ok()
                .filter(|line| (1..NO_LINE).contains(line)),
        }
    }
}

/// Java frames, native methods among them, have no module.
pub fn is_java(frame: &Frame) -> bool {
    let java = [
        FrameKind::C1,
        FrameKind::C2,
        FrameKind::Interpreted,
        FrameKind::Inlined,
        FrameKind::Native,
    ];
    frame.module.is_none() && java.contains(&frame.kind)
}

/// A captured frame as the JVM would say it.
pub fn java_frame(frame: &Frame) -> JavaFrame {
    // Parameters follow where two methods of one name meet.
    let name = frame.name.split('(').next().unwrap_or_default();
    JavaFrame {
        name: name.to_owned(),
        line: frame.line,
    }
}

impl Case {
    pub fn parse(line: &str) -> Case {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("the witness told no case in {line}: {error}"))
    }

    fn told(&self) -> Vec<JavaFrame> {
        self.frames.iter().map(Told::frame).collect()
    }

    /// The one site that this allocation is: by its size, or as the only stream below both of its methods.
    ///
    /// # Errors
    /// What there is instead.
    pub fn site<'a>(&self, capture: &'a Capture) -> Result<&'a Site, String> {
        let told = self.told();
        let leaf = &told[0].name;
        let way = self.way().ok_or("the JVM told of no method of that name")?;
        let is_it = |site: &&Site| {
            site.kind == self.kind
                && has(site, leaf)
                && if self.kind == SiteKind::Malloc {
                    site.allocated_bytes == self.bytes
                } else {
                    has(site, &way)
                }
        };
        let sites: Vec<&Site> = capture.sites.iter().filter(is_it).collect();
        match sites[..] {
            [site] if site.allocated_count == 1 => Ok(site),
            _ => Err(format!("{} sites are it: {sites:#?}", sites.len())),
        }
    }

    /// The method that the way is called after. In another thread, whose stack does not show who started it, it is that
    /// thread's.
    fn way(&self) -> Option<String> {
        let is_way = |told: &&Told| told.class.starts_with("targets.") && told.method == self.path;
        Some(self.frames.iter().find(is_way)?.frame().name)
    }

    /// Compares the Java frames of `site`, from the allocating method on, with the JVM's own.
    ///
    /// # Errors
    /// Both, side by side, from the first difference on.
    pub fn compare(&self, site: &Site) -> Result<Agreement, String> {
        let told = self.told();
        let captured = captured(site, &told[0].name);
        let parked = captured.iter().position(|frame| frame.name == PARKED);
        let (agrees, agreement) = match (site.stack_end.as_str(), parked) {
            ("root", None) => (captured == told, Agreement::Whole),
            ("root", Some(at)) => {
                let (before, after) = (&captured[..at], &captured[at + 1..]);
                let fits = before.len() + after.len() < told.len();
                // What the carrier ran before it went on with the virtual thread is all there.
                let entered = after
                    .first()
                    .is_some_and(|frame| ENTRY.contains(&frame.name.as_str()));
                let both = told.starts_with(before) && told.ends_with(after);
                (fits && entered && both, Agreement::Unparked)
            }
            (TRUNCATED, None) => (told.starts_with(&captured), Agreement::LeafSide),
            _ => return Err(format!("the stack ends badly\n{}", stack(site))),
        };
        if agrees && !captured.is_empty() {
            Ok(agreement)
        } else {
            Err(differ(&told, &captured))
        }
    }
}

fn has(site: &Site, name: &str) -> bool {
    site.frames
        .iter()
        .any(|frame| is_java(frame) && java_frame(frame).name == name)
}

/// The marker of parked frames, and frames that may be Java's and could not be read.
fn is_nameless(frame: &Frame) -> bool {
    frame.kind == FrameKind::Unknown && frame.module.is_none() && frame.name != TRUNCATED_MARKER
}

/// The Java frames of `site` from its first one called `leaf` on, and the marker of parked ones.
fn captured(site: &Site, leaf: &str) -> Vec<JavaFrame> {
    let frames = site.frames.iter();
    frames
        .filter(|frame| is_java(frame) || is_nameless(frame))
        .map(|frame| java_frame(frame))
        .skip_while(|frame| frame.name != leaf)
        .collect()
}

fn differ(told: &[JavaFrame], captured: &[JavaFrame]) -> String {
    const AROUND: usize = 6;
    let same = told
        .iter()
        .zip(captured)
        .take_while(|(told, captured)| told == captured);
    let at = same.count();
    let mut text = format!("after {at} equal frames the JVM says\n");
    for (who, frames) in [("", told), ("and captured is\n", captured)] {
        text += who;
        for frame in frames.iter().skip(at.saturating_sub(1)).take(AROUND) {
            let _ = writeln!(text, "    {} {:?}", frame.name, frame.line);
        }
    }
    text
}

#[cfg(test)]
mod tests;
