//! Attach points: which program goes where, with which cookie.

use tracer_common::cookie::{Cookie, Fields};
use tracer_common::outcome::Outcome;

use super::Counts;
use super::links::LinkKind;
use super::placement::{Needs, Placement, exits, place};
use crate::functions::pairs::Leaving;
use crate::functions::resolve::Found;
use crate::functions::{Function, Shape};
use crate::stack::ModuleId;

/// A place where a function of the table is, or should have been, probed.
#[derive(Clone, Debug)]
pub struct Point {
    pub function: Function,
    /// As the file spells it.
    pub symbol: String,
    pub module: ModuleId,
    /// File offset of the function's entry.
    pub entry: u64,
    pub placement: Placement,
    pub leaf: bool,
    /// Seconds from the first attach; 0 for what was mapped then.
    pub attached_after: f64,
    /// Why the point has no probe, if it has none.
    pub error: Option<String>,
}

impl Point {
    pub fn new(module: ModuleId, found: Found) -> Point {
        let needs = Needs {
            arguments: arguments(&found.function),
            in_place: is_in_place(found.function.shape),
            return_address: found.function.shape.returns(),
        };
        let mut placement = if cfg!(target_arch = "x86_64") {
            place(&found.code, needs)
        } else {
            Placement::at_entry("entry".into(), true)
        };
        let mut error = None;
        if leaves_by_exits(&found.function) {
            placement.exits = exits(&found.code);
            error = placement.exits.is_empty().then(|| {
                format!(
                    "{} looks at its return address, and no `ret` was found in it to probe instead",
                    found.symbol
                )
            });
        }
        Point {
            function: found.function,
            symbol: found.symbol,
            module,
            entry: found.offset,
            placement,
            leaf: found.leaf,
            attached_after: 0.0,
            error,
        }
    }

    /// File offset of the probed instruction.
    pub fn offset(&self) -> u64 {
        self.entry.saturating_add(self.placement.offset)
    }

    /// File offsets of the instructions by which the function returns, where these are probed.
    pub fn exits(&self) -> Vec<u64> {
        let exits = self.placement.exits.iter();
        exits.map(|exit| self.entry.saturating_add(*exit)).collect()
    }

    pub fn cookie(&self, index: usize) -> Cookie {
        let row = &self.function;
        let (pair, flags) = row.pair.map_or((0, 0), |of| (of.pair.0.into(), of.flags));
        let register = |argument| self.placement.register(argument);
        Cookie::new(Fields {
            point: index as u32,
            key: register(row.key),
            size: register(row.size),
            count: register(row.count),
            out: register(row.out),
            window_bits: register(row.window_bits),
            mem_level: register(row.mem_level),
            leaf: self.leaf as u32,
            pair,
            flags,
        })
    }

    /// The programs at this point: the one for the entry, and the one for the return where the result is needed and the
    /// first one does not see to that.
    pub fn programs(&self, links: LinkKind) -> (&'static str, Option<&'static str>) {
        let (entry, at_return, session) = match self.function.shape {
            Shape::Free => return ("free_enter", None),
            Shape::Unmap => return ("unmap_enter", None),
            Shape::StreamOpen => return ("stream_open", None),
            Shape::StreamClose => return ("stream_close", None),
            Shape::ObjectOpen => return ("object_open", None),
            Shape::ObjectClose => return ("object_close", None),
            Shape::ObjectRefer => return ("object_refer", None),
            Shape::ObjectOpenReturn if leaves_by_exits(&self.function) => {
                return ("object_enter", Some(EXIT));
            }
            Shape::ObjectOpenReturn => ("object_enter", "object_return", "object_session"),
            Shape::Allocate => ("allocate_enter", "allocate_return", "allocate_session"),
            Shape::Reallocate => ("reallocate_enter", "allocate_return", "reallocate_session"),
            Shape::Map => ("map_enter", "map_return", "map_session"),
            Shape::Remap => ("remap_enter", "remap_return", "remap_session"),
            Shape::Break => ("break_enter", "break_return", "break_session"),
            Shape::StreamOpenReturn => ("stream_enter", "stream_return", "stream_session"),
        };
        match links {
            LinkKind::Session => (session, None),
            LinkKind::Multi | LinkKind::Perf => (entry, Some(at_return)),
        }
    }
}

/// The program that goes to each of a function's exits, and not to where the point is.
pub const EXIT: &str = "object_exit";

fn leaves_by_exits(function: &Function) -> bool {
    function
        .pair
        .is_some_and(|membership| membership.leaving == Leaving::Exits)
}

/// Traps that calls of one function took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traps {
    pub entries: u64,
    pub returns: u64,
}

impl Point {
    /// The traps behind these counts, with links of this kind.
    pub fn traps(&self, counts: &Counts, links: LinkKind) -> Traps {
        let sum = |outcomes: &[Outcome]| outcomes.iter().map(|outcome| counts.get(*outcome)).sum();
        let entries = sum(&[Outcome::Seen, Outcome::Counted]);
        let unwanted: u64 = match links {
            LinkKind::Multi | LinkKind::Perf => 0,
            LinkKind::Session if self.leaf => sum(&[
                Outcome::Counted,
                Outcome::Nested,
                Outcome::InFlightFull,
                Outcome::Unsampled,
                Outcome::OutOfRange,
            ]),
            LinkKind::Session => sum(&[Outcome::Counted, Outcome::Nested, Outcome::InFlightFull]),
        };
        Traps {
            entries,
            returns: match self.function.shape.returns() {
                true => entries.saturating_sub(unwanted),
                false => 0,
            },
        }
    }
}

/// The programs take all arguments from where the caller put them, and ask no cookie.
fn is_in_place(shape: Shape) -> bool {
    matches!(
        shape,
        Shape::Map | Shape::Remap | Shape::Unmap | Shape::Break
    )
}

/// How many arguments have to be intact where the probe is.
fn arguments(row: &Function) -> u32 {
    let used = [
        row.key,
        row.size,
        row.count,
        row.out,
        row.window_bits,
        row.mem_level,
    ];
    let named = used
        .into_iter()
        .filter(|&n| n != tracer_common::cookie::NO_ARGUMENT)
        .map(|n| n + 1)
        .max()
        .unwrap_or(0);
    match row.shape {
        Shape::Map => 5,
        Shape::Remap => 4,
        Shape::Unmap => 2,
        Shape::Break => 1,
        _ => named,
    }
}
