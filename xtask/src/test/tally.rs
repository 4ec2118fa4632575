//! Counting what libtest prints.

/// Results of some test programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that did what they promise; those that found something missing and left are not among them.
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// `name: what is missing`, for each test that said so.
    pub skips: Vec<String>,
    /// What failed, by name.
    pub failures: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.skips.extend(other.skips);
        self.failures.extend(other.failures);
    }

    /// Tests that really ran.
    pub fn ran(&self) -> u64 {
        self.passed + self.failed
    }
}

/// Reads one test program's output, line by line.
#[derive(Debug, Default)]
pub struct Reader {
    tally: Tally,
    /// The test whose shown output the lines are.
    section: Option<String>,
    closed: bool,
}

impl Reader {
    pub fn take(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.section = Some(name.to_owned());
        } else if let Some(missing) = line.strip_prefix("skipped: ") {
            // The first reason counts: a test is skipped once.
            let name = self.section.take();
            self.tally
                .skips
                .extend(name.map(|name| format!("{name}: {missing}")));
        } else if let Some(name) = failed_test(line) {
            self.tally.failures.push(name.to_owned());
        } else if let Some([passed, failed, ignored]) = closing(line) {
            self.closed = true;
            self.tally.passed += passed;
            self.tally.failed += failed;
            self.tally.skipped += ignored;
        }
    }

    /// The counts of the program `name`; one that ended badly without a failed test counts as a failure itself.
    pub fn finish(mut self, name: &str, success: bool) -> Tally {
        let skipped = (self.tally.skips.len() as u64).min(self.tally.passed);
        self.tally.passed -= skipped;
        self.tally.skipped += skipped;
        if !self.closed || (!success && self.tally.failed == 0) {
            self.tally.failed += 1;
            self.tally
                .failures
                .push(format!("{name} (the test program itself)"));
        }
        self.tally
    }
}

/// `test name ... FAILED`
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn closing(line: &str) -> Option<[u64; 3]> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        let entry = counts
            .split("; ")
            .find_map(|entry| entry.strip_suffix(word));
        entry.and_then(|number| number.trim().parse().ok())
    };
    Some([count("passed")?, count("failed")?, count("ignored")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str, success: bool) -> Tally {
        let mut reader = Reader::default();
        output.lines().for_each(|line| reader.take(line));
        reader.finish("program", success)
    }

    /// A test that found something missing counts as skipped and not as passed, with its reason.
    #[test]
    fn a_skip_is_not_a_pass() {
        let tally = read(
            "\
running 3 tests
test a ... ok
test b ... ok

successes:

---- b stdout ----
skipped: jemalloc
skipped: and more

successes:
    a
    b

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.10s
",
            true,
        );
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 0, 2));
        assert_eq!(tally.skips, ["b: jemalloc"]);
        assert_eq!(tally.ran(), 1);
    }

    /// Failures are counted and named.
    #[test]
    fn failures_are_named() {
        let closing = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s";
        let tally = read(&format!("test a::b ... FAILED\n{closing}\n"), false);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 1, 0));
        assert_eq!(tally.failures, ["a::b"]);
    }

    /// A program that dies before its closing line is a failure, whatever its tests had printed.
    #[test]
    fn a_program_that_dies_is_a_failure() {
        let tally = read("running 2 tests\ntest a ... ok\n", false);
        assert_eq!((tally.passed, tally.failed), (0, 1));
        assert_eq!(tally.failures, ["program (the test program itself)"]);
    }

    /// A program that reports success and still exits with an error is a failure.
    #[test]
    fn a_bad_exit_is_a_failure() {
        let closing = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s";
        assert_eq!(read(closing, false).failed, 1);
        assert_eq!(read(closing, true).failed, 0);
    }
}
