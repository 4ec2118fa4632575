//! Functions, files and lines of addresses, from DWARF 2 to 5.
//!
//! Made for debug information of any size and of anybody's making: what is held is where each unit's code is, and a
//! look-up reads only the units that it needs, one after the other, and keeps nothing but its answers. Nothing
//! recurses, and every look-up has [`Fuel`].

mod lines;
mod session;
mod unit;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::sync::Arc;

use gimli::{EndianReader, LittleEndian};

use super::sections::{Section, Sections};
use session::Session;

/// What gimli reads from.
type R = EndianReader<LittleEndian, std::rc::Rc<[u8]>>;

/// Steps (entries, ranges, rows) that the index may take, and that one look-up may take. An entry is some ten bytes, so
/// that all of libjvm 17, with 245 MiB of `.debug_info`, is a small part of it.
const MAX_STEPS: u64 = 200_000_000;
/// Ranges of code that are kept, 32 bytes each; libjvm 17 has 28,539.
const MAX_RANGES: usize = 4_000_000;
/// Units that claim one address and are asked about it. One does, except where the linker folded identical code.
const MAX_CLAIMS: usize = 4;

/// Why debug information could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("its debug information is malformed: {0}")]
    Malformed(#[from] gimli::Error),
    #[error("its debug information cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("its debug information takes too many steps to search")]
    Endless,
}

/// The debug information of one file.
#[derive(Debug)]
pub struct Dwarf {
    sections: Sections,
    /// `.debug_info`, which is read in pieces.
    info: Section,
    /// Ascending.
    units: Vec<UnitPlace>,
    /// By start. Ranges of different units may overlap.
    ranges: Vec<UnitRange>,
    /// What several files share, split off by `dwz`.
    shared: Option<Box<Dwarf>>,
    /// That a look-up may take.
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
struct UnitPlace {
    /// In `.debug_info`.
    offset: u64,
    /// With the header.
    size: u64,
}

#[derive(Clone, Copy, Debug)]
struct UnitRange {
    start: u64,
    end: u64,
    /// The greatest end of this range and all before it.
    reach: u64,
    unit: u32,
}

/// What is known about an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Leaf first: functions inlined at the place, then the function that the place is in. Empty for code that
    /// belongs to no function, as that of assemblers.
    pub functions: Vec<Function>,
    /// The place itself.
    pub place: Place,
}

/// A function, and the place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// As the linker knows it, or else as the source does.
    pub name: Option<String>,
    pub inlined: bool,
    pub place: Place,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: Option<String>,
    pub line: Option<u32>,
}

impl Dwarf {
    /// The debug information in `file`; None where it has none.
    ///
    /// # Errors
    /// It can't be read or makes no sense.
    pub fn open(file: &Arc<File>, shared: Option<Dwarf>) -> Result<Option<Self>, Trouble> {
        Dwarf::open_within(MAX_STEPS, file, shared)
    }

    /// As [`Dwarf::open`], with so many steps for the index and for each look-up.
    pub(crate) fn open_within(
        steps: u64,
        file: &Arc<File>,
        shared: Option<Dwarf>,
    ) -> Result<Option<Self>, Trouble> {
        let Some(sections) = Sections::of(file).filter(|sections| sections.has(".debug_info"))
        else {
            return Ok(None);
        };
        let mut dwarf = Dwarf {
            info: sections.open_large(".debug_info")?,
            sections,
            units: Vec::new(),
            ranges: Vec::new(),
            shared: shared.map(Box::new),
            steps,
        };
        let (units, mut ranges) = Session::new(&dwarf)?.index()?;
        ranges.sort_unstable_by_key(|range| range.start);
        let mut reach = 0;
        for range in &mut ranges {
            reach = range.end.max(reach);
            range.reach = reach;
        }
        (dwarf.units, dwarf.ranges) = (units, ranges);
        Ok(Some(dwarf))
    }

    /// What is known about each of `addresses`, as the file states them; None where nothing is.
    ///
    /// # Errors
    /// Some of it can't be read or makes no sense. What the rest knows is in `found`.
    pub fn look_up(&self, addresses: &[u64], found: &mut [Option<Known>]) -> Result<(), Trouble> {
        let mut session = Session::new(self)?;
        let mut asked: Vec<(u32, u64, usize)> = Vec::new();
        for (at, &address) in addresses.iter().enumerate() {
            asked.extend(self.claims(address).map(|unit| (unit, address, at)));
        }
        asked.sort_unstable();
        let mut trouble = None;
        for group in asked.chunk_by(|a, b| a.0 == b.0) {
            let wanted: Vec<u64> = group.iter().map(|(_, address, _)| *address).collect();
            let known = match session.look_up(group[0].0 as usize, &wanted) {
                Ok(known) => known,
                Err(Trouble::Endless) => return Err(Trouble::Endless),
                // A unit that makes no sense costs its own names only.
                Err(why) => {
                    trouble.get_or_insert(why);
                    continue;
                }
            };
            for ((_, _, at), known) in group.iter().zip(known) {
                let better = known.place != Place::default() || !known.functions.is_empty();
                if let Some(slot) = found.get_mut(*at)
                    && better
                    && slot.as_ref().is_none_or(|slot| slot.functions.is_empty())
                {
                    *slot = Some(known);
                }
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// The units that say they have code at `address`.
    fn claims(&self, address: u64) -> impl Iterator<Item = u32> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        self.ranges[..after]
            .iter()
            .rev()
            .take_while(move |range| range.reach > address)
            // Not more are looked at where a hostile file has millions of ranges in one another.
            .take(1024)
            .filter(move |range| range.end > address)
            .map(|range| range.unit)
            .take(MAX_CLAIMS)
    }
}

/// The steps that are left.
#[derive(Debug)]
struct Fuel(Cell<u64>);

impl Fuel {
    fn step(&self) -> Result<(), Trouble> {
        self.0
            .set(self.0.get().checked_sub(1).ok_or(Trouble::Endless)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
