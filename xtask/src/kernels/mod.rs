//! The privileged tests on kernels of other Debian releases, each in a virtual machine of its own (docs/TESTING.md).
//!
//! The machine has this one's root file system, read only and with a layer of memory above it. So what runs in it is what
//! was built here; only the kernel is another.

mod cpio;
mod guest;
mod image;
mod machine;

use std::time::Duration;

use anyhow::{Context, Result};

use self::image::Image;
use crate::{
    cargo::Executable,
    host::Refused,
    test::tally::{Reader, Tally},
};

/// What is run on a kernel: test programs, each with the tests of it that are wanted.
type Wanted = &'static [(&'static str, &'static [&'static str])];

/// A kernel, by the release that has it.
struct Kernel {
    name: &'static str,
    suite: &'static str,
    short: Wanted,
    full: Wanted,
}

/// Before 5.15, the oldest kernel that is supported; before multi-uprobes; and before sessions.
const KERNELS: [Kernel; 3] = [
    Kernel {
        name: "5.10",
        suite: "bullseye",
        short: REFUSED,
        full: REFUSED,
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
        short: SHORT,
        full: FULL,
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
        short: SHORT,
        full: FULL,
    },
];

const REFUSED: Wanted = &[("refusals", &["an_old_kernel"])];
/// All programs load, and each kind of link counts exactly.
const SHORT: Wanted = &[
    ("refusals", &["an_old_kernel"]),
    ("probes", &[]),
    ("evidence", &["oom_kill"]),
];
/// And each group of hooks in a target of its own. What is left out measures time, which an emulated machine has none of.
const FULL: Wanted = &[
    ("refusals", &["an_old_kernel"]),
    ("probes", &[]),
    ("evidence", &["oom_kill"]),
    ("malloc", &[]),
    ("regions", &[]),
    ("streams", &["are_exact", "outstanding", "without_malloc"]),
    ("pairs", &["declared_pairs_are_exact", "without_malloc"]),
    ("growth", &["growth_is_attributed"]),
    ("java_streams", &["zlib_hooks_alone_count_the_same"]),
    ("triage", &["owners_add_up", "text"]),
];

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Short,
    Full,
}

/// Runs the tests among `programs` on each kernel, and prints a row for it. Where a machine can't be had, that is a skip
/// with its reason.
pub fn run(
    programs: &[Executable],
    environment: &[(&'static str, String)],
    extent: Extent,
) -> Tally {
    let mut total = Tally::default();
    for kernel in &KERNELS {
        let tally = on(kernel, programs, environment, extent)
            .unwrap_or_else(|error| missing(kernel, &error));
        println!(
            "Linux {}: {} passed, {} failed, {} skipped",
            kernel.name, tally.passed, tally.failed, tally.skipped
        );
        total.add(tally);
    }
    total
}

/// What this machine may lack is a skip; anything else is a failure.
fn missing(kernel: &Kernel, error: &anyhow::Error) -> Tally {
    let line = format!("Linux {}: {error:#}", kernel.name);
    if error.is::<Refused>() {
        return Tally {
            skipped: 1,
            skips: vec![line],
            ..Tally::default()
        };
    }
    Tally {
        failed: 1,
        failures: vec![line],
        ..Tally::default()
    }
}

fn on(
    kernel: &Kernel,
    programs: &[Executable],
    environment: &[(&'static str, String)],
    extent: Extent,
) -> Result<Tally> {
    let host = machine::Host::find()?;
    let image = Image::ensure(kernel.suite)?;
    let (wanted, limit) = match extent {
        Extent::Short => (kernel.short, Duration::from_secs(10 * 60)),
        Extent::Full => (kernel.full, Duration::from_secs(40 * 60)),
    };
    let script = guest::script(&runs(wanted, programs)?, environment);
    let initramfs = image.initramfs(&script)?;
    eprintln!(
        "running tests on Linux {} ({})",
        image.release,
        host.accelerator()
    );
    let mut reader = Guest::new(kernel.name);
    host.boot(&image.kernel(), &initramfs, limit, |line| reader.take(line))?;
    Ok(reader.finish())
}

/// The programs that are wanted, with the arguments that choose among their tests.
fn runs<'a>(wanted: Wanted, programs: &'a [Executable]) -> Result<Vec<guest::Run<'a>>> {
    let run = |(name, filters): &(&'static str, &'static [&'static str])| {
        let tests = programs.iter().filter(|program| program.is_test);
        let program = tests
            .clone()
            .find(|program| program.name == *name)
            .with_context(|| format!("there is no test program {name}"))?;
        Ok(guest::Run { program, filters })
    };
    wanted.iter().map(run).collect()
}

/// What a machine says, line by line.
struct Guest {
    kernel: &'static str,
    total: Tally,
    program: Option<(String, Reader)>,
    is_done: bool,
}

impl Guest {
    fn new(kernel: &'static str) -> Guest {
        Guest {
            kernel,
            total: Tally::default(),
            program: None,
            is_done: false,
        }
    }

    fn take(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix(guest::BEGINS) {
            self.program = Some((name.to_owned(), Reader::default()));
        } else if let Some(code) = line.strip_prefix(guest::ENDS) {
            self.ended(code == "0");
        } else if line == guest::DONE {
            self.is_done = true;
        } else if let Some((_, reader)) = &mut self.program {
            reader.take(line);
        }
    }

    fn ended(&mut self, success: bool) {
        let Some((name, reader)) = self.program.take() else {
            return;
        };
        let mut tally = reader.finish(&name, success);
        for line in tally.skips.iter_mut().chain(&mut tally.failures) {
            *line = format!("Linux {}: {line}", self.kernel);
        }
        self.total.add(tally);
    }

    /// A machine that went down before its last program had ended is a failure.
    fn finish(mut self) -> Tally {
        self.ended(false);
        if !self.is_done {
            self.total.failed += 1;
            let line = format!("Linux {} (the machine itself)", self.kernel);
            self.total.failures.push(line);
        }
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSING: &str =
        "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";

    fn tally(lines: &[&str]) -> Tally {
        let mut guest = Guest::new("6.1");
        lines.iter().for_each(|line| guest.take(line));
        guest.finish()
    }

    /// Each program's counts are added up, and its skips name the kernel.
    #[test]
    fn programs_are_added_up() {
        let lines = [
            "== begins a",
            "---- b stdout ----",
            "skipped: jemalloc",
            CLOSING,
            "== ends 0",
            "== begins c",
            CLOSING,
            "== ends 0",
            "== done",
        ];
        let tally = tally(&lines);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (3, 0, 1));
        assert_eq!(tally.skips, ["Linux 6.1: b: jemalloc"]);
    }

    /// A machine that goes down, in a program or between two, has failed.
    #[test]
    fn a_machine_that_goes_down_has_failed() {
        let inside = tally(&["== begins a", "running 2 tests"]);
        assert_eq!((inside.passed, inside.failed), (0, 2));
        let between = tally(&["== begins a", CLOSING, "== ends 0"]);
        assert_eq!((between.passed, between.failed), (2, 1));
        assert_eq!(between.failures, ["Linux 6.1 (the machine itself)"]);
    }

    /// What the machine lacks is a skip with its reason; what goes wrong is a failure.
    #[test]
    fn only_what_is_missing_is_skipped() {
        let lacking = missing(&KERNELS[0], &Refused("no qemu".to_owned()).into());
        assert_eq!((lacking.failed, lacking.skipped), (0, 1));
        assert_eq!(lacking.skips, ["Linux 5.10: no qemu"]);
        assert_eq!(missing(&KERNELS[0], &anyhow::anyhow!("no")).failed, 1);
    }
}
