//! The sections that a look-up needs whole, read for its time.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use gimli::{AttributeValue, EndianReader, LittleEndian, Reader};

use super::{Dwarf, Fuel, Known, MAX_RANGES, R, Trouble, UnitPlace, UnitRange, unit};
use crate::symbolize::sections::Section;

/// Of a unit's bytes the first: its header and its root entry.
const ROOT_BYTES: usize = 4096;
/// The largest unit that is read. Link-time optimisation makes units of tens of MiB.
const MAX_UNIT: u64 = 128 << 20;
/// Longest string that is read.
const MAX_STRING: usize = 16 << 10;
/// Units that are kept at hand for entries that other units refer to.
const MAX_AT_HAND: usize = 4;

/// One look-up.
pub(super) struct Session<'a> {
    dwarf: &'a Dwarf,
    /// Without `.debug_info` and `.debug_str`, which are read in pieces.
    pub(super) view: gimli::Dwarf<R>,
    info: &'a Section,
    strings: Section,
    pub(super) fuel: Rc<Fuel>,
    at_hand: RefCell<HashMap<usize, Rc<Unit>>>,
    shared: Option<Box<Session<'a>>>,
}

/// A unit that was read.
pub(super) struct Unit {
    /// Of the unit in `.debug_info`.
    pub(super) offset: u64,
    pub(super) gimli: gimli::Unit<R>,
}

impl<'a> Session<'a> {
    pub(super) fn new(dwarf: &'a Dwarf) -> Result<Self, Trouble> {
        Session::with_fuel(dwarf, Rc::new(Fuel(Cell::new(dwarf.steps))))
    }

    fn with_fuel(dwarf: &'a Dwarf, fuel: Rc<Fuel>) -> Result<Self, Trouble> {
        // Of the sections that gimli knows these are all that names and lines need.
        let needed = |id: gimli::SectionId| {
            use gimli::SectionId as Id;
            let wanted = matches!(
                id,
                Id::DebugAbbrev
                    | Id::DebugAddr
                    | Id::DebugLine
                    | Id::DebugLineStr
                    | Id::DebugRanges
                    | Id::DebugRngLists
                    | Id::DebugStrOffsets
            );
            let bytes = if wanted {
                dwarf.sections.load(id.name())?
            } else {
                Vec::new()
            };
            Ok::<_, Trouble>(reader(&bytes))
        };
        let shared = match &dwarf.shared {
            Some(shared) => Some(Box::new(Session::with_fuel(shared, Rc::clone(&fuel))?)),
            None => None,
        };
        Ok(Session {
            dwarf,
            view: gimli::Dwarf::load(needed)?,
            info: &dwarf.info,
            strings: dwarf.sections.open(".debug_str")?,
            fuel,
            at_hand: RefCell::default(),
            shared,
        })
    }

    /// Where the units and their code are.
    pub(super) fn index(&self) -> Result<(Vec<UnitPlace>, Vec<UnitRange>), Trouble> {
        let (mut units, mut ranges) = (Vec::new(), Vec::new());
        let mut offset = 0;
        while let Some(place) = self.place(offset)? {
            self.fuel.step()?;
            let number = units.len() as u32;
            units.push(place);
            offset = offset.saturating_add(place.size);
            // A unit that makes no sense costs its own names only.
            let Ok(root) = self.root(place) else { continue };
            for (start, end) in unit::root_ranges(self, &root)? {
                if ranges.len() == MAX_RANGES {
                    return Err(Trouble::Endless);
                }
                ranges.push(UnitRange {
                    start,
                    end,
                    reach: 0,
                    unit: number,
                });
            }
        }
        Ok((units, ranges))
    }

    /// The unit at `offset`; None at the end of all units.
    fn place(&self, offset: u64) -> Result<Option<UnitPlace>, Trouble> {
        if offset.saturating_add(12) > self.info.len() {
            return Ok(None);
        }
        let bytes = self.info.read(offset, 12)?;
        let mut header = reader(&bytes);
        let (length, format) = header.read_initial_length()?;
        let size = u64::from(format.initial_length_size()).saturating_add(length as u64);
        // Padding between units reads as a unit of no length.
        Ok(
            (length != 0 && offset.saturating_add(size) <= self.info.len())
                .then_some(UnitPlace { offset, size }),
        )
    }

    /// A unit as if it ended soon after its root entry.
    fn root(&self, place: UnitPlace) -> Result<Unit, Trouble> {
        let bytes = self
            .info
            .read_up_to(place.offset, ROOT_BYTES.min(place.size as usize))?;
        let cut = bytes.len() < place.size as usize;
        let mut bytes = bytes.into_owned();
        if cut {
            match bytes.first_chunk::<4>() {
                Some([0xff, 0xff, 0xff, 0xff]) => {
                    let length = (bytes.len() as u64 - 12).to_le_bytes();
                    bytes[4..12].copy_from_slice(&length);
                }
                _ => {
                    let length = (bytes.len() as u32 - 4).to_le_bytes();
                    bytes[..4].copy_from_slice(&length);
                }
            }
        }
        match self.parse(place.offset, &bytes) {
            Err(Trouble::Malformed(_)) if cut => self.whole(place),
            other => other,
        }
    }

    fn whole(&self, place: UnitPlace) -> Result<Unit, Trouble> {
        if place.size > MAX_UNIT {
            return Err(Trouble::Endless);
        }
        self.parse(
            place.offset,
            &self.info.read(place.offset, place.size as usize)?,
        )
    }

    fn parse(&self, offset: u64, bytes: &[u8]) -> Result<Unit, Trouble> {
        let info = gimli::DebugInfo::from(reader(bytes));
        let header = info.units().next()?.ok_or(gimli::Error::MissingUnitDie)?;
        Ok(Unit {
            offset,
            gimli: gimli::Unit::new(&self.view, header)?,
        })
    }

    /// A whole unit, by its number.
    fn unit(&self, number: usize) -> Result<Rc<Unit>, Trouble> {
        if let Some(unit) = self.at_hand.borrow().get(&number) {
            return Ok(Rc::clone(unit));
        }
        let place = self.dwarf.units.get(number);
        let place = place.ok_or(gimli::Error::NoEntryAtGivenOffset(number as u64))?;
        let unit = Rc::new(self.whole(*place)?);
        let mut at_hand = self.at_hand.borrow_mut();
        if at_hand.len() == MAX_AT_HAND {
            at_hand.clear();
        }
        at_hand.insert(number, Rc::clone(&unit));
        Ok(unit)
    }

    /// The unit that `offset` of `.debug_info` is in.
    pub(super) fn unit_around(&self, offset: u64) -> Result<Rc<Unit>, Trouble> {
        let after = self
            .dwarf
            .units
            .partition_point(|unit| unit.offset <= offset);
        self.unit(after.wrapping_sub(1))
    }

    pub(super) fn shared(&self) -> Option<&Session<'a>> {
        self.shared.as_deref()
    }

    /// What the unit knows about the addresses, which ascend.
    pub(super) fn look_up(&mut self, number: usize, wanted: &[u64]) -> Result<Vec<Known>, Trouble> {
        let unit = self.unit(number)?;
        unit::look_up(self, &unit, wanted)
    }

    /// A string that an attribute stands for.
    pub(super) fn string(&self, unit: &Unit, value: &AttributeValue<R>) -> Option<String> {
        let view = &self.view;
        let bytes: Cow<'_, [u8]> = match value {
            AttributeValue::String(text) => {
                return text.to_string_lossy().ok().map(Cow::into_owned);
            }
            AttributeValue::DebugLineStrRef(at) => {
                let text = view.debug_line_str.get_str(*at).ok()?;
                return text.to_string_lossy().ok().map(Cow::into_owned);
            }
            AttributeValue::DebugStrRef(at) => {
                self.strings.read_up_to(at.0 as u64, MAX_STRING).ok()?
            }
            AttributeValue::DebugStrRefSup(at) => {
                let strings = &self.shared.as_ref()?.strings;
                strings.read_up_to(at.0 as u64, MAX_STRING).ok()?
            }
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let format = unit.gimli.encoding().format;
                let base = unit.gimli.str_offsets_base;
                let at = view
                    .debug_str_offsets
                    .get_str_offset(format, base, *index)
                    .ok()?;
                self.strings.read_up_to(at.0 as u64, MAX_STRING).ok()?
            }
            _ => return None,
        };
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

fn reader(bytes: &[u8]) -> R {
    EndianReader::new(Rc::from(bytes), LittleEndian)
}
