//! Streams and objects of pairs: what is opened and closed.

use tracer_common::cookie::{NO_ARGUMENT, pair};

use super::{Accounts, CLEANERS, Maker, Orphan, Parameters, Scene, kind_of};
use crate::events::{Allocation, AllocationKey, End};
use crate::functions::Direction;
use crate::functions::pairs::PairId;
use crate::ledger::{Ended, Freed, Space, Weight};
use crate::unwind::memory::Memory;

/// What libraries make with `java.lang.ref.Cleaner.create()` is called so, with a number.
const CLEANER_OF_A_LIBRARY: &[u8] = b"Cleaner-";

impl<M: Memory> Accounts<M> {
    pub(super) fn opened(
        &mut self,
        stream: &Allocation,
        parameters: Parameters,
        replaced: Option<u64>,
        maker: Maker,
    ) {
        if let Some(time) = replaced {
            self.orphan(AllocationKey {
                address: stream.key.address,
                time,
            });
        }
        let site = self.site(kind_of(parameters.direction), maker);
        if stream.spilled {
            self.ledger
                .begin_spilled(Space::Streams, stream.key, 0, site, Weight::ONE);
        } else {
            self.ledger.begin(stream.key, 0, site, Weight::ONE);
        }
        self.ledger.hold(site, parameters.bytes(), 0.0);
        self.parameters.insert(stream.key, parameters);
    }

    /// The stream was set up again without having been ended.
    fn orphan(&mut self, key: AllocationKey) {
        if let (Some(site), Some(parameters)) =
            (self.ledger.site_of(key), self.parameters.remove(&key))
        {
            self.orphans.push(Orphan {
                time: key.time,
                site,
                parameters: Some(parameters),
            });
            self.ledger.forget(key);
        }
    }

    pub(super) fn object_opened(
        &mut self,
        object: &Allocation,
        (pair, naming): (PairId, Naming),
        replaced: Option<u64>,
        maker: Maker,
    ) {
        if let Some(time) = replaced {
            *self.reopened.entry(pair).or_default() += 1;
            let older = AllocationKey { time, ..object.key };
            match naming {
                // It was given out anew: the older one is gone, in a way that was not declared.
                Naming::ByFunction => {
                    let ended = Ended {
                        size: 0,
                        weight: Weight::ONE,
                        by: Freed::ByProgram,
                        now: object.key.time,
                    };
                    self.ledger.end(older, ended);
                }
                Naming::ByCaller => {
                    if let Some(site) = self.ledger.site_of(older) {
                        self.orphans.push(Orphan {
                            time,
                            site,
                            parameters: None,
                        });
                    }
                    self.ledger.forget(older);
                }
            }
        }
        let site = self.ledger.site_of_pair(pair, maker.stack, maker.thread);
        if object.spilled {
            let space = Space::Objects(pair);
            self.ledger
                .begin_spilled(space, object.key, 0, site, Weight::ONE);
        } else {
            self.ledger.begin(object.key, 0, site, Weight::ONE);
        }
    }

    pub(super) fn closed(&mut self, end: End, space: Space, comm: &[u8; 16]) {
        let by = match is_cleaner(comm) {
            true => Freed::ByCleaner,
            false => Freed::ByProgram,
        };
        let (address, now) = (end.key.address, end.now);
        let (site, key) = if end.key.time == 0 {
            let spilled = self.ledger.end_unknown(space, address, now, by);
            let time = spilled.map_or(0, |spilled| spilled.time);
            (
                spilled.map(|spilled| spilled.site),
                AllocationKey { address, time },
            )
        } else {
            let ended = Ended {
                size: 0,
                weight: Weight::ONE,
                by,
                now,
            };
            (self.ledger.end(end.key, ended), end.key)
        };
        if let (Some(parameters), Some(site)) = (self.parameters.remove(&key), site) {
            self.ledger.hold(site, -parameters.bytes(), 0.0);
        }
    }
}

/// Who decides what an object is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// The opening function returns or stores it.
    ByFunction,
    /// The object is in memory that the caller passes.
    ByCaller,
}

/// The pair that a point's function belongs to.
pub(super) fn object_of(scene: Scene<'_>, point: u32) -> Option<(PairId, Naming)> {
    let function = &scene.points.get(point as usize)?.function;
    let membership = function.pair?;
    let by_caller = function.key != NO_ARGUMENT && membership.flags & pair::INDIRECT == 0;
    let naming = match by_caller {
        true => Naming::ByCaller,
        false => Naming::ByFunction,
    };
    Some((membership.pair, naming))
}

/// Whether a thread of this name ends what the program forgot.
fn is_cleaner(comm: &[u8; 16]) -> bool {
    let name = comm.split(|&byte| byte == 0).next().unwrap_or_default();
    name.starts_with(CLEANER_OF_A_LIBRARY)
        || CLEANERS.iter().any(|cleaner| cleaner.as_bytes() == name)
}

pub(super) fn direction(scene: Scene<'_>, point: u32) -> Direction {
    let function = scene.points.get(point as usize).map(|point| point.function);
    function
        .and_then(|function| function.direction)
        .unwrap_or(Direction::Deflate)
}
