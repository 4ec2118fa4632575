//! What a row of the JDK tests is there for has to occur in it: agreement about frames that never came proves nothing.

use std::sync::Arc;

use offheap::capture::{Capture, Frame, FrameKind, Site};

use crate::witness::Case;

/// What a run of `targets.Witness` was.
pub struct Occurrences<'a> {
    pub capture: &'a Capture,
    pub cases: &'a [Case],
    pub flags: &'a [&'a str],
    /// Feature release of the JDK.
    pub release: u32,
}

/// What compiled code calls instead of the native method.
const CRITICAL: &str = "JavaCritical_targets_Allocation_allocateCritical";

/// The compilers that a JVM has under its flags.
struct Compilers {
    c1: bool,
    c2: bool,
}

const COMPILED: [FrameKind; 3] = [FrameKind::C1, FrameKind::C2, FrameKind::Inlined];

impl Occurrences<'_> {
    /// What did not occur, one text each.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = self.missing_threads();
        missing.extend(self.cases.iter().filter_map(|case| {
            let site = case.site(self.capture).ok()?;
            let fault = self.missing_on(case, site)?;
            Some(format!("{} by {}: {fault}", case.path, case.means))
        }));
        missing
    }

    fn compilers(&self) -> Compilers {
        let has = |text: &str| self.flags.iter().any(|flag| flag.starts_with(text));
        Compilers {
            c1: !has("-Xint") && !has("-XX:-TieredCompilation"),
            c2: !has("-Xint") && !has("-XX:TieredStopAtLevel"),
        }
    }

    /// The JVM's own threads allocate as well: compilers, those that collect, and compiled code that is given up.
    /// Without the symbols of libjvm none of them can be told.
    fn missing_threads(&self) -> Vec<String> {
        if !self.has_symbols() {
            println!("  its libjvm.so is stripped: who else allocates is not told");
            return Vec::new();
        }
        let Compilers { c1, c2 } = self.compilers();
        let wanted = [
            (true, "VMThread::run"),
            (c1, "Compiler::compile_method"),
            (c2, "C2Compiler::compile_method"),
            (c1 || c2, "Deoptimization::fetch_unroll_info"),
        ];
        let occurs = |name: &str| {
            let is_it = |frame: &Arc<Frame>| frame.name.starts_with(name);
            self.capture
                .sites
                .iter()
                .any(|site| site.stack_end == "root" && site.frames.iter().any(is_it))
        };
        wanted
            .iter()
            .filter(|(is_wanted, name)| *is_wanted && !occurs(name))
            .map(|(_, name)| format!("no stack of {name}"))
            .collect()
    }

    fn has_symbols(&self) -> bool {
        let mut frames = self.capture.sites.iter().flat_map(|site| &site.frames);
        frames.any(|frame| {
            frame.module.as_deref() == Some("libjvm.so") && frame.name.starts_with("JavaCalls::")
        })
    }

    fn missing_on(&self, case: &Case, site: &Site) -> Option<&'static str> {
        let Compilers { c1, c2 } = self.compilers();
        let compiles = c1 || c2;
        let all = |name: &str, kinds: &[FrameKind]| {
            let mut named = site.frames.iter().filter(|frame| frame.name == name);
            named.clone().next().is_some() && named.all(|frame| kinds.contains(&frame.kind))
        };
        let native = |name: &str| site.frames.iter().any(|frame| frame.name == name);
        let wrong = match case.path.as_str() {
            "hotLoop" if compiles && !all("targets.Paths.hotLoop", &COMPILED) => {
                "the loop was not compiled while it ran"
            }
            "mixed" if compiles && !all("targets.Mixed.compiled", &COMPILED) => {
                "compiled code was interpreted"
            }
            "mixed" if !all("targets.Mixed.interpreted", &[FrameKind::Interpreted]) => {
                "interpreted code was compiled"
            }
            // Without a profile no branch is known to be rare.
            "uncommonTrap"
                if c2
                    && self.flags != ["-Xcomp"]
                    && !all("targets.Late$Branch.enter", &[FrameKind::Interpreted]) =>
            {
                "the rare branch was compiled"
            }
            _ => match case.means.as_str() {
                "SIGNAL" if !native("on_signal") => "no signal handler was called",
                // Compiled wrappers call them, up to JDK 15; without C1 there are none after so few calls.
                "CRITICAL" if c1 && self.release < 16 && !native(CRITICAL) => {
                    "no critical native was called"
                }
                _ => return None,
            },
        };
        Some(wrong)
    }
}
