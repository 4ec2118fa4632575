//! Of which stacks something is true that was read at another time.
//!
//! A stack is walked some milliseconds after it was copied, and a JVM under load frees code and classes and puts others
//! in their place all the time. What was there at two looks was there between them: a compiled method has an id that no
//! other one gets. What is seen for the first time after the stack was taken is no proof. It is believed where there
//! was hardly time for a change, and of a JVM in which nothing changes. A walk may come late (the machine is busy, or we
//! were stopped), and then nothing has been seen to change for the only reason that nobody looked: so a JVM in which
//! nothing changes has to say itself that it has unloaded no class meanwhile. Otherwise a frame stays unknown: a wrong one
//! would be worse.

use std::time::{Duration, Instant};

/// A stack that was walked so soon is rarely overtaken: for a change code has to be left, found unused by a collection,
/// freed, and replaced by code that is compiled meanwhile.
const PROMPT: Duration = Duration::from_millis(25);
/// The same where the JVM says that it has unloaded classes meanwhile.
const AT_ONCE: Duration = Duration::from_millis(8);
/// Where the JVM does not count the classes that it unloads, what came before is no help for a stack that was walked later
/// than this.
const LATE: Duration = Duration::from_millis(100);
/// Without a change for so long nothing changes.
const QUIET: Duration = Duration::from_secs(10);
/// Where one thing has replaced another, it was there before the stack if that had so many times more room for it.
const LIKELIER: u32 = 10;
/// What was there so shortly before a stack, and then nothing, was what the stack met: there was hardly time for something
/// else to come, and none for that to go.
const RECENT: Duration = Duration::from_millis(20);

/// When a stack was copied, and when it is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub taken: Instant,
    pub now: Instant,
    pub look: Look,
    /// Which it is of the stacks that are walked together.
    pub stack: u32,
    /// Since when the JVM has unloaded no class, where it tells.
    pub classes: Option<Instant>,
}

/// When what is remembered, but not known for this moment, is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At once.
    Now,
    /// When the walk is over: until then it is believed.
    Later,
}

/// When something is known to have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Instant,
    pub last: Instant,
    /// When something else was seen in its place for the last time.
    pub other: Option<Instant>,
}

/// When things changed.
#[derive(Debug, Default)]
pub struct Changes {
    last: Option<Instant>,
}

impl Moment {
    /// For a stack that was copied then.
    pub fn of(taken: Instant, now: Instant) -> Self {
        Moment {
            taken,
            now,
            look: Look::Later,
            stack: 0,
            classes: None,
        }
    }

    /// What is there now, and not what was there when a stack was taken.
    pub fn present(self) -> Self {
        Moment {
            taken: self.now,
            ..self
        }
    }

    /// Whether there was hardly time for a change between the stack and a look that was so much later.
    fn is_prompt(self, delay: Duration) -> bool {
        let has_unloaded = self.classes.is_some_and(|since| since > self.taken);
        delay <= if has_unloaded { AT_ONCE } else { PROMPT }
    }

    fn since(self, before: Instant) -> Duration {
        self.taken.duration_since(before)
    }
}

impl Span {
    /// Of what was read just now for the first time, on a walk of that moment, and of when something else was there.
    pub fn new(moment: Moment, other: Option<Instant>) -> Self {
        Span {
            first: Instant::now().max(moment.now),
            last: moment.now,
            other,
        }
    }

    /// Whether what was read first in this span was read in time to be compared with what was there before.
    pub fn is_in_time(&self, moment: Moment) -> bool {
        let delay = self.first.saturating_duration_since(moment.taken);
        match moment.classes {
            Some(since) => since <= moment.taken || delay <= AT_ONCE,
            None => delay <= LATE,
        }
    }

    /// Whether a stack that can't be of what was there before is of this: there was hardly time for a third thing.
    pub fn excludes_other(&self, moment: Moment) -> bool {
        self.other.is_some_and(|other| other <= moment.taken) && self.is_in_time(moment)
    }

    /// Whether what is gone now was there when a stack was taken, if nothing has taken its place.
    pub fn reaches(&self, moment: Moment) -> bool {
        moment.since(self.last) <= RECENT
    }

    /// Whether what was there before was there when a stack was taken, if this is nothing.
    pub fn follows(&self, moment: Moment) -> bool {
        self.other
            .is_some_and(|other| moment.since(other) <= RECENT)
    }
}

impl Changes {
    pub fn note(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// Whether what was there in `span` was there when a stack was taken.
    pub fn believes(&self, span: &Span, moment: Moment) -> bool {
        if moment.taken >= span.first {
            return true;
        }
        let delay = span.first.duration_since(moment.taken);
        match span.other {
            Some(other) => {
                let is_likelier = moment.since(other) >= delay.saturating_mul(LIKELIER);
                is_likelier && span.is_in_time(moment)
            }
            None => {
                let quiet = |last| moment.since(last) >= QUIET;
                moment.is_prompt(delay) || self.last.is_none_or(quiet) && span.is_in_time(moment)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn span(at: Instant, other: Option<Instant>) -> Span {
        Span {
            first: at,
            last: at,
            other,
        }
    }

    /// What was there before a stack is believed; what came after it only where it came soon or nothing ever changes.
    #[test]
    fn first_seen() {
        let begin = Instant::now();
        let moment = |taken, now| Moment::of(begin + ms(taken), begin + ms(now));
        let mut changes = Changes::default();
        let span = span(begin + ms(1000), None);
        assert!(changes.believes(&span, moment(1000, 9000)), "it was there");
        assert!(
            changes.believes(&span, moment(910, 1000)),
            "nothing changes"
        );
        changes.note(begin + ms(500));
        assert!(!changes.believes(&span, moment(910, 1000)));
        assert!(changes.believes(&span, moment(980, 1000)), "it was soon");
    }

    /// That nobody has seen a change says nothing of a stack that was walked late, unless the JVM itself has unloaded no
    /// class since before the stack.
    #[test]
    fn nobody_looked() {
        let begin = Instant::now();
        let late = Moment::of(begin + ms(400), begin + ms(1000));
        let with = |classes| Moment {
            classes: Some(begin + ms(classes)),
            ..late
        };
        let changes = Changes::default();
        for other in [None, begin.checked_sub(QUIET)] {
            let span = span(begin + ms(1000), other);
            assert!(!changes.believes(&span, late));
            assert!(!span.is_in_time(late));
            assert!(!changes.believes(&span, with(401)));
            assert!(changes.believes(&span, with(400)));
            assert!(span.is_in_time(with(400)));
        }
    }

    /// A JVM that unloads classes meanwhile is believed for a shorter time.
    #[test]
    fn unloading() {
        let begin = Instant::now();
        let after = |delay: u64, classes| Moment {
            classes: Some(begin + ms(classes)),
            ..Moment::of(begin + ms(1000 - delay), begin + ms(1000))
        };
        let mut changes = Changes::default();
        changes.note(begin + ms(900));
        let span = span(begin + ms(1000), None);
        assert!(changes.believes(&span, after(25, 500)));
        assert!(!changes.believes(&span, after(25, 990)));
        assert!(changes.believes(&span, after(8, 995)));
    }

    /// Of two things in one place the later one is believed only where it had much more time to come before the stack
    /// than after it; the earlier one, where nothing is any more, for a while.
    #[test]
    fn replaced() {
        let begin = Instant::now();
        let moment = |taken, now| Moment::of(begin + ms(taken), begin + ms(now));
        let changes = Changes::default();
        let after = span(begin + ms(1000), Some(begin));
        assert!(changes.believes(&after, moment(950, 1000)));
        assert!(!changes.believes(&after, moment(850, 1000)));
        let before = span(begin, None);
        assert!(before.reaches(moment(19, 1000)));
        assert!(!before.reaches(moment(21, 1000)));
    }
}
