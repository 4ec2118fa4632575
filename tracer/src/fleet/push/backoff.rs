//! How long to wait after a failure: longer each time, and not in step with others that failed at the same moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A server that asks for more patience than this gets this.
const MOST_ASKED: Duration = Duration::from_secs(3600);

/// Waits between tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff {
            first,
            longest,
            failures: 0,
        }
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: between half of a doubling ceiling and all of it. What the server asked for
    /// (`Retry-After`) is kept, and spread by as much.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let doubled = 2_u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        let ceiling = self.first.saturating_mul(doubled).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let spread = (ceiling / 2).mul_f64(chance());
        match asked {
            Some(asked) => asked.min(MOST_ASKED) + spread,
            None => ceiling / 2 + spread,
        }
    }
}

/// A random number from 0 to 1: the standard library seeds each of these states from the system.
fn chance() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Each wait is between half its ceiling and the ceiling, the ceiling doubles up to the longest, whatever the number
    /// of failures; a success begins again.
    #[test]
    fn doubles() {
        let mut backoff = Backoff::new(SECOND, 8 * SECOND);
        for ceiling in [1, 2, 4, 8, 8, 8] {
            let wait = backoff.failed(None);
            let ceiling = ceiling * SECOND;
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?}");
        }
        backoff.failures = u32::MAX;
        assert!(backoff.failed(None) <= 8 * SECOND);
        backoff.succeeded();
        assert!(backoff.failed(None) <= SECOND);
    }

    /// What the server asks for is the least, but not without limit.
    #[test]
    fn asked() {
        let mut backoff = Backoff::new(SECOND, 8 * SECOND);
        let wait = backoff.failed(Some(60 * SECOND));
        assert!(wait >= 60 * SECOND && wait <= 61 * SECOND);
        let wait = backoff.failed(Some(Duration::MAX));
        assert!(wait <= MOST_ASKED + 8 * SECOND);
    }

    /// Two that fail at the same moment do not come again at the same moment.
    #[test]
    fn spread() {
        let waits: std::collections::HashSet<Duration> = (0..20)
            .map(|_| Backoff::new(SECOND, SECOND).failed(None))
            .collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}
