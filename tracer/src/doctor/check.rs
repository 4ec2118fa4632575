//! One row of a diagnosis.

use std::fmt;

/// What a check means for tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Ok,
    /// Tracing works, with less in it.
    Warn,
    /// Tracing does not work.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub level: Level,
    pub found: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
}

impl Check {
    pub fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check {
            name,
            level: Level::Ok,
            found: found.into(),
            remedy: String::new(),
        }
    }

    pub fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check {
            name,
            level: Level::Warn,
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    pub fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check {
            name,
            level: Level::Fail,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// All rows, printed as a table with the conclusion below.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// Number of failed checks.
    pub fn failed(&self) -> usize {
        self.checks
            .iter()
            .filter(|check| check.level == Level::Fail)
            .count()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or_default();
        for check in &self.checks {
            let level = match check.level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            writeln!(f, "{level:<4}  {:<width$}  {}", check.name, check.found)?;
            if !check.remedy.is_empty() {
                writeln!(f, "{:<4}  {:<width$}  -> {}", "", "", check.remedy)?;
            }
        }
        match self.failed() {
            0 => writeln!(f, "\ntracing will work"),
            1 => writeln!(f, "\ntracing will not work: 1 check failed"),
            n => writeln!(f, "\ntracing will not work: {n} checks failed"),
        }
    }
}
