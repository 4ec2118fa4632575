//! Where walks end before the thread's root, and where the JVM contradicts them: by module and address.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::Trace;
use crate::capture::{Anchors, Completeness, EndPlace, Place, Violation};
use crate::stack::{Frame, Stack, StackEnd};
use crate::symbolize::{MethodNames, Namer, PerfMap, Sources};
use crate::target::modules::{ModuleTable, elf};

/// Places that are told apart; stacks that end anywhere else are counted by their kind of end alone.
const MAX_PLACES: usize = 4096;
/// Places of each kind of end that a report lists.
const LISTED: usize = 8;

/// Incomplete stacks by the frame that they ended at.
#[derive(Debug, Default)]
pub(super) struct Ends(HashMap<(StackEnd, Frame), u64>);

impl Ends {
    pub fn count(&mut self, stack: &Stack) {
        let is_frame = |frame: &&Frame| !matches!(frame, Frame::Marker(_));
        let Some(last) = stack.frames.iter().rev().find(is_frame) else {
            return;
        };
        if stack.end == StackEnd::Root {
            return;
        }
        let place = (stack.end, last.clone());
        if self.0.len() < MAX_PLACES || self.0.contains_key(&place) {
            *self.0.entry(place).or_default() += 1;
        }
    }

    /// The most frequent places of each kind of end.
    fn most_frequent(&self) -> Vec<(StackEnd, &Frame, u64)> {
        let mut by_end: BTreeMap<StackEnd, Vec<(&Frame, u64)>> = BTreeMap::new();
        for ((end, frame), count) in &self.0 {
            by_end.entry(*end).or_default().push((frame, *count));
        }
        let mut most = Vec::new();
        for (end, mut places) in by_end {
            places.sort_by_key(|(frame, count)| (Reverse(*count), order(frame)));
            let listed = places.into_iter().take(LISTED);
            most.extend(listed.map(|(frame, count)| (end, frame, count)));
        }
        most
    }
}

/// Any order that is the same in each report.
fn order(frame: &Frame) -> (u32, u64) {
    match frame {
        Frame::Native { module, offset } => (module.0, *offset),
        Frame::Unknown { address, .. } => (u32::MAX, *address),
        Frame::Java { method, line, .. } => (method.0, u64::from(*line)),
        Frame::Stub { .. } | Frame::Marker(_) => (0, 0),
    }
}

impl Trace {
    /// Names the places where walks ended, and those where the JVM said otherwise.
    pub(super) fn place_ends(
        &mut self,
        perf_map: Option<&PerfMap>,
        completeness: &mut Completeness,
    ) {
        let methods = self.accounts.unwinder.methods();
        let sources = Sources {
            modules: &self.modules,
            methods,
            method_names: &MethodNames::new(methods),
            perf_map,
        };
        let mut namer = Namer::new(sources, &mut self.names);
        let mut place = |frame: &Frame| {
            let stack = Stack {
                frames: vec![frame.clone()],
                end: StackEnd::Root,
            };
            let named = namer.name(&stack);
            // Of inlined functions the last is the one that has the code.
            let name = named.frames.last().map(|frame| frame.name.clone());
            located(frame, name.unwrap_or_default(), &self.modules)
        };
        let ends = self.ends.most_frequent().into_iter();
        completeness.ended_at = ends
            .map(|(end, frame, count)| EndPlace {
                end: end.as_str().to_owned(),
                place: place(frame),
                count,
            })
            .collect();
        completeness.anchors = self.accounts.unwinder.comparisons().map(|found| Anchors {
            checked: found.agreed + found.unknown + found.violated,
            agreed: found.agreed,
            unknown: found.unknown,
            violated: found.violated,
            violations: found
                .places
                .iter()
                .map(|(frame, count)| Violation {
                    place: place(frame),
                    count: *count,
                })
                .collect(),
        });
    }
}

fn located(frame: &Frame, name: String, modules: &ModuleTable) -> Place {
    let (module, address) = match frame {
        Frame::Native { module, offset } => {
            let module = modules.get(*module);
            let segments = module.and_then(|module| elf::visit(&module.file, elf::segments));
            let address = segments.and_then(|segments| elf::stated_address(&segments, *offset));
            let path = module.map(|module| module.path.display().to_string());
            (path, address)
        }
        Frame::Unknown { address, .. } => (None, Some(*address)),
        Frame::Java { .. } | Frame::Stub { .. } | Frame::Marker(_) => (None, None),
    };
    Place {
        name,
        module,
        address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::{Marker, ModuleId, UnknownReason};

    fn stack(end: StackEnd, frames: Vec<Frame>) -> Stack {
        Stack { frames, end }
    }

    fn native(offset: u64) -> Frame {
        Frame::Native {
            module: ModuleId(0),
            offset,
        }
    }

    /// Incomplete stacks are counted by their last frame, markers aside; complete ones are not, and of each kind of end
    /// the most frequent places come first.
    #[test]
    fn most_frequent_first() {
        let mut ends = Ends::default();
        for (end, offset, times) in [
            (StackEnd::NoUnwindInfo, 1, 2),
            (StackEnd::NoUnwindInfo, 2, 3),
            (StackEnd::Root, 3, 9),
        ] {
            for _ in 0..times {
                ends.count(&stack(end, vec![native(7), native(offset)]));
            }
        }
        let marked = vec![native(4), Frame::Marker(Marker::Truncated)];
        ends.count(&stack(StackEnd::Truncated, marked));
        let most = ends.most_frequent();
        let found: Vec<_> = most
            .iter()
            .map(|(end, frame, n)| (*end, order(frame).1, *n))
            .collect();
        let expected = [
            (StackEnd::Truncated, 4, 1),
            (StackEnd::NoUnwindInfo, 2, 3),
            (StackEnd::NoUnwindInfo, 1, 2),
        ];
        assert_eq!(found, expected);
    }

    /// A process that makes a new place of each stack takes no more memory than the bound, and known places still count.
    #[test]
    fn bounded() {
        let mut ends = Ends::default();
        let reason = UnknownReason::NotMapped;
        for address in (0..2 * MAX_PLACES as u64).chain([0]) {
            let frame = Frame::Unknown { address, reason };
            ends.count(&stack(StackEnd::NoUnwindInfo, vec![frame]));
        }
        assert_eq!(ends.0.len(), MAX_PLACES);
        let most = ends.most_frequent();
        assert_eq!((most.len(), order(most[0].1).1, most[0].2), (LISTED, 0, 2));
    }
}
