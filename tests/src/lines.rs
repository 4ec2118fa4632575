//! Lines of a pipe, collected by a thread, so that a test can wait for one with a deadline and still see all of them.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

/// The lines that a pipe has carried so far.
#[derive(Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<State>, Condvar)>,
}

/// Why a line did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    Deadline,
    /// The other side closed the pipe.
    Closed,
}

impl Lines {
    /// Reads `pipe` to its end on a thread of its own.
    pub fn of(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        thread::spawn(move || writer.fill(BufReader::new(pipe)));
        lines
    }

    fn fill(&self, mut pipe: impl BufRead) {
        let mut raw = Vec::new();
        loop {
            raw.clear();
            let ended = !matches!(pipe.read_until(b'\n', &mut raw), Ok(n) if n > 0);
            let mut state = self.lock();
            if ended {
                state.closed = true;
            } else {
                state
                    .lines
                    .push(String::from_utf8_lossy(&raw).trim_end().to_owned());
            }
            self.shared.1.notify_all();
            if ended {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Index of the first line at or after `from` that `wanted` accepts.
    pub fn wait(
        &self,
        from: usize,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<usize, Missed> {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        let mut seen = from;
        loop {
            if let Some(found) = state.lines[seen.min(state.lines.len())..]
                .iter()
                .position(|line| wanted(line))
            {
                return Ok(seen + found);
            }
            seen = seen.max(state.lines.len());
            if state.closed {
                return Err(Missed::Closed);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missed::Deadline);
            }
            state = self
                .shared
                .1
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until the other side has closed the pipe; then [`Lines::all`] is complete.
    pub fn wait_closed(&self, limit: Duration) -> Result<(), Missed> {
        match self.wait(0, limit, |_| false) {
            Err(Missed::Closed) => Ok(()),
            _ => Err(Missed::Deadline),
        }
    }

    pub fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    /// A line is found by whoever waits for it, before or after it came, and only from where it is looked for.
    #[test]
    fn lines_are_found_from_where_one_looks() {
        let lines = Lines::of(&b"ready\n{}\ndone\nready\n"[..]);
        assert_eq!(lines.wait(0, crate::DEADLINE, |line| line == "done"), Ok(2));
        assert_eq!(
            lines.wait(0, crate::DEADLINE, |line| line == "ready"),
            Ok(0)
        );
        assert_eq!(
            lines.wait(1, crate::DEADLINE, |line| line == "ready"),
            Ok(3)
        );
        assert_eq!(
            lines.wait(4, crate::DEADLINE, |line| line == "ready"),
            Err(Missed::Closed)
        );
        assert_eq!(lines.all().len(), 4);
    }

    /// A line that does not come is told apart from a pipe that is closed.
    #[test]
    fn a_deadline_is_no_end() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let lines = Lines::of(reader);
        assert_eq!(lines.wait(0, SOON, |_| true), Err(Missed::Deadline));
        writeln!(writer, "late").expect("the other end reads");
        assert_eq!(lines.wait(0, crate::DEADLINE, |line| line == "late"), Ok(0));
        drop(writer);
        assert_eq!(lines.wait_closed(crate::DEADLINE), Ok(()));
    }
}
