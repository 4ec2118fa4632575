//! From what the kernel copied to stacks.

use std::time::{Duration, Instant};

use super::{Accounts, Scene};
use crate::clock;
use crate::events::{Allocation, RawStack};
use crate::stack::{Frame, Stack};
use crate::unwind::memory::Memory;
use crate::unwind::{Registers, ReplacedReturn, StackCapture};

impl<M: Memory> Accounts<M> {
    /// The stacks of allocations, each from the hooked function on.
    pub fn unwind_all(&mut self, made: &[&Allocation], scene: Scene<'_>) -> Vec<Stack> {
        let replaced: Vec<_> = made
            .iter()
            .map(|made| replaced_returns(&made.stack))
            .collect();
        let captures: Vec<_> = made
            .iter()
            .zip(&replaced)
            .map(|(made, replaced)| capture(made, replaced, scene))
            .collect();
        let mut stacks = self.unwinder.unwind_all(scene.modules, &captures);
        for (stack, made) in stacks.iter_mut().zip(made) {
            if made.stack.at_return
                && let Some(point) = scene.points.get(made.point as usize)
            {
                let leaf = Frame::Native {
                    module: point.module,
                    offset: point.entry,
                };
                stack.frames.insert(0, leaf);
            }
        }
        stacks
    }
}

fn capture<'a>(
    made: &'a Allocation,
    replaced: &'a [ReplacedReturn],
    scene: Scene<'_>,
) -> StackCapture<'a> {
    let raw = &made.stack;
    StackCapture {
        registers: Registers {
            ip: raw.ip,
            sp: raw.sp,
            fp: raw.fp,
            lr: raw.lr,
        },
        ip_is_return_address: raw.at_return,
        bytes: &raw.bytes,
        missing: raw.missing,
        truncated: raw.truncated,
        taken: taken(made.key.time),
        tid: scene.inner_tids.get(&made.tid).copied().unwrap_or(made.tid),
        replaced,
        anchor: raw.anchor,
    }
}

/// When `time` was, which is in nanoseconds of the monotonic clock. We may be stopped between two looks at the clock: then
/// it comes out earlier, never later, so that nothing is taken for older than the stack that is not.
fn taken(time: u64) -> Instant {
    let now = Instant::now();
    let age = Duration::from_nanos(clock::monotonic().saturating_sub(time));
    now.checked_sub(age).unwrap_or(now)
}

/// The original return addresses by where they were. A function that another has jumped to at its end shares its place
/// on the stack: what was there first, of the outer one, is the return address.
fn replaced_returns(raw: &RawStack) -> Vec<ReplacedReturn> {
    let mut replaced: Vec<ReplacedReturn> = Vec::new();
    for one in raw.replaced.iter().filter(|one| one.slot != 0) {
        let original = one.return_address;
        match replaced.last_mut() {
            Some(inner) if inner.slot == one.slot => inner.original = original,
            _ => replaced.push(ReplacedReturn {
                slot: one.slot,
                original,
            }),
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack is never taken for younger than it is.
    #[test]
    fn stacks_do_not_grow_younger() {
        let (time, before) = (clock::monotonic(), Instant::now());
        assert!(taken(time) <= before);
    }
}
