//! What is doubtful about the pairs that the user has declared: a wrong declaration must not look like an empty report.

use anyhow::Result;
use tracer_common::outcome::Outcome;

use super::Trace;
use crate::functions::pairs::{Origin, Pair, PairId, Part};
use crate::functions::{Group, Shape};
use crate::probes::Counts;
use crate::report::units::Count;

/// Opening calls of which nothing is concluded.
const TOO_FEW: u64 = 3;

/// What was seen of the functions that do one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    /// Functions with a probe.
    pub probed: usize,
    pub seen: u64,
    /// Opened, or closed; also where a reference was given back.
    pub recorded: u64,
    pub failed: u64,
}

/// What was seen of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub open: Calls,
    pub close: Calls,
    /// Openings that gave an object which was open.
    pub reopened: u64,
    /// A file is mapped whose path the pair's library matches.
    pub library: bool,
}

impl Trace {
    /// What an object of the pair is called.
    pub(super) fn pair_name(&self, pair: Option<PairId>) -> Option<String> {
        Some(self.settings.pairs.get(pair?)?.name.clone())
    }

    /// Says at the attach which declared pairs are nowhere yet.
    pub(super) fn tell_missing_pairs(&mut self) {
        let missing: Vec<String> = self
            .declared()
            .into_iter()
            .filter_map(|(id, pair)| missing(pair, &self.used(id, pair, &[])))
            .collect();
        for line in missing {
            let later = "; what is mapped later is looked at as well";
            self.keeper.tell(format!("{line}{later}"));
        }
    }

    /// Sentences about declared pairs that can't be right, or may not be.
    pub(super) fn doubts(&self, counts: &[Counts]) -> Vec<String> {
        if !self.keeper.active().contains(&Group::Pairs) {
            return Vec::new();
        }
        let declared = self.declared().into_iter();
        declared
            .flat_map(|(id, pair)| doubts(pair, &self.used(id, pair, counts)))
            .collect()
    }

    /// The same, of what was seen until now.
    ///
    /// # Errors
    /// When the counters can't be read.
    pub fn doubts_now(&self) -> Result<Vec<String>> {
        Ok(self.doubts(&self.probes.counts()?))
    }

    /// Those whose calls are recorded.
    fn declared(&self) -> Vec<(PairId, &Pair)> {
        let all = self.settings.pairs.iter();
        all.filter(|(id, pair)| pair.origin == Origin::Declared && !self.keeper.is_off(*id))
            .collect()
    }

    fn used(&self, id: PairId, pair: &Pair, counts: &[Counts]) -> Use {
        let mut used = Use {
            reopened: self.accounts.reopened.get(&id).copied().unwrap_or(0),
            library: pair.library.as_ref().is_none_or(|library| {
                let mut modules = self.modules.modules.iter();
                modules.any(|module| library.is_match(&module.path.to_string_lossy()))
            }),
            ..Use::default()
        };
        for (index, point) in self.probes.points.iter().enumerate() {
            if point.function.pair.is_none_or(|of| of.pair != id) {
                continue;
            }
            let calls = match point.function.shape {
                Shape::ObjectOpen | Shape::ObjectOpenReturn => &mut used.open,
                Shape::ObjectClose => &mut used.close,
                _ => continue,
            };
            let counts = counts.get(index).copied().unwrap_or_default();
            calls.probed += 1;
            calls.seen += counts.get(Outcome::Seen);
            calls.recorded += counts.get(Outcome::Recorded);
            if point.function.shape == Shape::ObjectClose {
                calls.recorded += counts.get(Outcome::Referenced);
            }
            calls.failed += counts.get(Outcome::Failed);
        }
        used
    }
}

fn is_open(part: Part) -> bool {
    matches!(part, Part::Open(_))
}

fn is_close(part: Part) -> bool {
    part == Part::Close
}

/// Why a pair is nowhere, if it isn't.
pub(super) fn missing(pair: &Pair, used: &Use) -> Option<String> {
    let name = &pair.name;
    if let Some(library) = pair.library.as_ref().filter(|_| !used.library) {
        return Some(format!(
            "pair `{name}`: no mapped file matches its library `{library}`"
        ));
    }
    let in_library = pair
        .library
        .as_ref()
        .map(|library| format!(" that matches `{library}`"))
        .unwrap_or_default();
    let lacks = |what, symbols| {
        format!(
            "pair `{name}`: no mapped file{in_library} defines {symbols}, its {what} (`nm -D FILE` lists what a library \
             exports)"
        )
    };
    match (used.open.probed, used.close.probed) {
        (0, _) => Some(lacks("OPEN", pair.symbols(is_open))),
        (_, 0) => Some(format!(
            "{}: each of its objects would look open",
            lacks("CLOSE", pair.symbols(is_close))
        )),
        _ => None,
    }
}

/// Everything that is doubtful about a pair of which this was seen.
pub(super) fn doubts(pair: &Pair, used: &Use) -> Vec<String> {
    if let Some(missing) = missing(pair, used) {
        return vec![missing];
    }
    let (name, open, close) = (&pair.name, used.open, used.close);
    let (opens, closes) = (pair.symbols(is_open), pair.symbols(is_close));
    let mut doubts = Vec::new();
    if open.failed > 0 && open.recorded == 0 {
        doubts.push(format!(
            "pair `{name}`: each of {} calls of {opens} has failed, or gives its object elsewhere than declared: nothing was \
             opened",
            Count(open.failed)
        ));
    }
    // Of a value that is left over in a register, or a status, most calls give the same.
    if open.recorded >= TOO_FEW && used.reopened + 1 >= open.recorded {
        doubts.push(format!(
            "pair `{name}`: {} of {} calls of {opens} gave an object that was open: where it is declared to be may be wrong \
             (a function that returns nothing, or a status), or something else than {closes} ends it",
            Count(used.reopened),
            Count(open.recorded)
        ));
    }
    if open.recorded > 0 && close.seen == 0 {
        doubts.push(format!(
            "pair `{name}`: {} were opened, and {closes} was never called: if it should have been, another function ends them",
            Count(open.recorded)
        ));
    } else if open.recorded > 0 && close.recorded == 0 {
        doubts.push(format!(
            "pair `{name}`: {} calls of {closes} closed none of the {} objects that were opened: its object may be another \
             argument",
            Count(close.seen),
            Count(open.recorded)
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::pairs::parse;

    const GOOD: Calls = Calls {
        probed: 1,
        seen: 9,
        recorded: 9,
        failed: 0,
    };

    fn pair() -> Pair {
        parse("conn=conn_open|conn_open2(ret)/conn_close(arg0)@libconn").unwrap()
    }

    fn only(used: Use) -> String {
        let doubts = doubts(&pair(), &used);
        assert_eq!(doubts.len(), 1, "{doubts:?}");
        doubts.into_iter().next().unwrap()
    }

    const FINE: Use = Use {
        open: GOOD,
        close: GOOD,
        reopened: 0,
        library: true,
    };

    /// A pair that is used as declared raises no doubt, nor does one of which nothing was called.
    #[test]
    fn what_is_right_is_not_doubted() {
        assert_eq!(doubts(&pair(), &FINE), Vec::<String>::new());
        let unused = Calls {
            probed: 1,
            ..Calls::default()
        };
        let idle = Use {
            open: unused,
            close: unused,
            ..FINE
        };
        assert_eq!(doubts(&pair(), &idle), Vec::<String>::new());
    }

    /// Each way to be wrong has a sentence of its own that names the pair and what to look at.
    #[test]
    fn each_mistake_is_told() {
        let no_library = Use {
            library: false,
            open: Calls::default(),
            ..FINE
        };
        assert!(only(no_library).contains("no mapped file matches its library `libconn`"));
        let no_open = Use {
            open: Calls::default(),
            ..FINE
        };
        assert!(only(no_open).contains("defines `conn_open` or `conn_open2`, its OPEN"));
        let no_close = Use {
            close: Calls::default(),
            ..FINE
        };
        assert!(only(no_close).contains("its CLOSE (`nm -D FILE`"));
        let never_closed = Use {
            close: Calls {
                seen: 0,
                recorded: 0,
                ..GOOD
            },
            ..FINE
        };
        assert!(only(never_closed).contains("`conn_close` was never called"));
        let wrong_argument = Use {
            close: Calls {
                recorded: 0,
                ..GOOD
            },
            ..FINE
        };
        assert!(only(wrong_argument).contains("9 calls of `conn_close` closed none"));
        let always_failed = Use {
            open: Calls {
                recorded: 0,
                failed: 9,
                ..GOOD
            },
            close: Calls {
                recorded: 0,
                ..GOOD
            },
            ..FINE
        };
        assert!(only(always_failed).contains("each of 9 calls"));
        let left_over = Use {
            reopened: 8,
            ..FINE
        };
        assert!(only(left_over).contains("8 of 9 calls"));
    }
}
