//! Where a scenario is played: runs the tool as a user would, shows what it says, and keeps what was checked.

use std::ffi::OsStr;
use std::fmt::{Debug, Display};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use offheap::capture::Capture;
use offheap::report::units::Bytes;
use offheap::triage::report::Report;
use offheap::triage::verdict::Cause;
use serde_json::Value;

use super::{Missing, Row};
use crate::{Finished, Target, Tool, Truth, classpath, triage};

/// Lines of one output that are shown; the rest is counted.
const LINES: usize = 50;
/// The probes take part in exact captures; nothing is sampled.
const EXACT: [&str; 2] = ["--sample-bytes", "0"];

struct Check {
    what: String,
    holds: bool,
}

pub struct Stage {
    out: Box<dyn Write>,
    shown: String,
    checks: Vec<Check>,
}

impl Stage {
    /// What is shown goes to `out` at once.
    pub fn new(out: Box<dyn Write>) -> Stage {
        Stage {
            out,
            shown: String::new(),
            checks: Vec::new(),
        }
    }

    /// All that was shown.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// How much was checked.
    pub fn checks(&self) -> usize {
        self.checks.len()
    }

    /// What was checked and does not hold.
    pub fn wrong(&self) -> Vec<&str> {
        let wrong = self.checks.iter().filter(|check| !check.holds);
        wrong.map(|check| check.what.as_str()).collect()
    }

    /// Shows what was checked.
    pub fn conclude(&mut self) {
        let lines = self.checks.iter().map(|check| {
            let word = if check.holds { "ok   " } else { "WRONG" };
            format!("  {word}  {}", check.what)
        });
        let lines: Vec<String> = lines.collect();
        self.say("\nChecked against what the target, the kernel or the library says:");
        for line in lines {
            self.say(line);
        }
    }

    pub fn say(&mut self, line: impl Display) {
        let line = format!("{line}\n");
        // Nobody listens any more: what was checked still counts.
        let _ = self.out.write_all(line.as_bytes());
        let _ = self.out.flush();
        self.shown.push_str(&line);
    }

    /// A command and what it printed, as far as it fits.
    fn output<'a>(&mut self, command: &str, lines: impl Iterator<Item = &'a str>) {
        self.say(format!("\n$ {command}"));
        let lines: Vec<&str> = lines.collect();
        for line in lines.iter().take(LINES) {
            self.say(line);
        }
        if let Some(more @ 1..) = lines.len().checked_sub(LINES) {
            self.say(format!("[{more} more lines]"));
        }
    }

    /// The Java target `class` in the JVM of `row`.
    pub fn java<S: AsRef<OsStr>>(
        &mut self,
        row: &Row,
        class: &str,
        arguments: &[S],
    ) -> Result<Target, Missing> {
        Ok(self.start(&mut command(row, class, arguments)?))
    }

    /// Starts a target, and says what it is.
    pub fn start(&mut self, command: &mut Command) -> Target {
        let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let from = words.iter().position(|word| word.starts_with("targets."));
        let words = words[from.unwrap_or(0)..].join(" ");
        let target = Target::start(command);
        self.say(format!("Pid {} is {words}", target.pid()));
        target
    }

    /// One look of `offheap triage`.
    pub fn look(&mut self, target: &Target) -> Report {
        let report = triage::look(target);
        let command = format!("offheap triage {}", target.pid());
        self.output(&command, report.to_string().lines());
        report
    }

    /// Looks of one `offheap triage -d`, the first before the target's first step and one after each; what it told.
    pub fn looks(&mut self, target: &mut Target, steps: usize) -> (Report, Vec<Truth>) {
        let (report, truths) = triage::watched(target, steps);
        let command = format!("offheap triage {} -d 600s", target.pid());
        self.output(&command, report.to_string().lines());
        (report, truths)
    }

    /// An exact capture whose probes are live.
    pub fn capture(&mut self, target: &Target) -> Tool {
        Tool::capture(target.pid(), &EXACT)
    }

    /// Ends a capture: what it found, and its report: up to the first site, and the sum.
    ///
    /// # Panics
    /// It failed.
    pub fn captured(&mut self, target: &Target, tool: Tool) -> (Capture, Finished) {
        let finished = tool.interrupted();
        assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
        let command = format!(
            "offheap capture {} -d 600s {}",
            target.pid(),
            EXACT.join(" ")
        );
        let lines = finished.stdout.iter().map(String::as_str);
        let first = lines.clone().take_while(|line| !line.starts_with("#2 "));
        // And how RSS has changed, from the end of the report.
        let memory = lines.skip_while(|line| !line.starts_with("  memory "));
        let memory = memory.take_while(|line| !line.starts_with("  cost "));
        self.output(&command, first.chain(["[...]"]).chain(memory));
        (finished.capture(), finished)
    }

    /// What grew between two captures, as JSON; shown as text, up to the second site.
    ///
    /// # Panics
    /// It failed.
    pub fn diff(&mut self, base: &Path, new: &Path) -> Value {
        let [base, new] = [base, new].map(|path| path.display().to_string());
        let run = |format: &str| {
            let finished = Tool::start(["diff", &base, &new, "-f", format]).ended();
            assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
            finished.stdout
        };
        let text = run("text");
        let lines = text.iter().map(String::as_str);
        self.output(
            "offheap diff BASE NEW",
            lines.take_while(|line| !line.starts_with("#3 ")),
        );
        serde_json::from_str(&run("json").join("\n")).expect("JSON on stdout")
    }

    /// The verdict is these causes, the first ones first, and no others.
    pub fn verdict(&mut self, report: &Report, expected: &[Cause]) {
        let found = triage::causes(report);
        self.holds(
            found == expected,
            format!("the verdict is {found:?}, and should be {expected:?}"),
        );
    }

    pub fn equal<T: PartialEq + Debug>(&mut self, what: &str, found: T, truth: T) {
        self.holds(
            found == truth,
            format!("{what}: {found:?}, in truth {truth:?}"),
        );
    }

    /// A number of bytes is within bounds that the truth gives.
    pub fn within(&mut self, what: &str, found: u64, bounds: RangeInclusive<u64>) {
        let (low, high) = (Bytes(*bounds.start()), Bytes(*bounds.end()));
        self.holds(
            bounds.contains(&found),
            format!("{what}: {}, in truth {low} to {high}", Bytes(found)),
        );
    }

    pub fn holds(&mut self, holds: bool, what: impl Into<String>) {
        let what = what.into();
        self.checks.push(Check { what, holds });
    }
}

/// The command that runs the Java target `class` in the JVM of `row`.
pub fn command<S: AsRef<OsStr>>(
    row: &Row,
    class: &str,
    arguments: &[S],
) -> Result<Command, Missing> {
    let classpath = classpath().ok_or_else(|| Missing("javac".to_owned()))?;
    let mut java = row.jdk.plain_java(&classpath, &row.flags, class);
    java.args(arguments);
    Ok(java)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What does not hold is wrong, by one byte or one word, and is marked in what is shown.
    #[test]
    fn what_does_not_hold_is_wrong() {
        let mut stage = Stage::new(Box::new(std::io::sink()));
        stage.equal("count", 7, 7);
        stage.within("bytes", 100, 100..=200);
        stage.holds(true, "it is so");
        assert!(stage.wrong().is_empty());
        stage.equal("count", 7, 8);
        stage.within("bytes", 99, 100..=200);
        stage.within("bytes", 201, 100..=200);
        stage.holds(false, "it is so");
        assert_eq!((stage.checks(), stage.wrong().len()), (7, 4));
        stage.conclude();
        assert_eq!(stage.shown().matches("  WRONG  ").count(), 4);
        assert_eq!(stage.shown().matches("  ok     ").count(), 3);
    }
}
