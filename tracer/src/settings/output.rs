//! Names of what is written.

use std::fmt;
use std::path::PathBuf;

use crate::exit::Usage;
use crate::target::Pid;

/// A directory name in which `%p` is the pid, `%t` the time and `%%` a percent sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPattern(String);

impl OutputPattern {
    pub(super) fn new(pattern: &str) -> Result<OutputPattern, Usage> {
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            if letter == '%' && !matches!(letters.next(), Some('p' | 't' | '%')) {
                return Err(Usage(format!(
                    "--output `{pattern}`: only %p (pid), %t (time) and %% are known"
                )));
            }
        }
        match pattern {
            "" => Err(Usage("--output is empty: give a directory".to_owned())),
            _ => Ok(OutputPattern(pattern.to_owned())),
        }
    }

    /// The directory. `time` must be fit for a file name, for example `20250131T081500Z`.
    pub fn expand(&self, pid: Pid, time: &str) -> PathBuf {
        let mut path = String::with_capacity(self.0.len() + time.len());
        let mut letters = self.0.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '%' => match letters.next() {
                    Some('p') => path.push_str(&pid.to_string()),
                    Some('t') => path.push_str(time),
                    other => path.extend(other),
                },
                plain => path.push(plain),
            }
        }
        PathBuf::from(path)
    }
}

impl fmt::Display for OutputPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
