//! One walk through the entries of a unit, for all addresses that are wanted of it.

use gimli::{AttributeValue, UnitOffset};

use super::session::{Session, Unit};
use super::{Function, Known, Place, R, Trouble, lines};

/// Functions inlined into one another at one place. The deepest seen (Rust iterators, Eigen) are some 40.
const MAX_LEVELS: usize = 128;
/// Entries that lead to one another before one has a name.
const MAX_HOPS: usize = 16;

/// A function or an inlined call that an address is in.
#[derive(Clone, Copy)]
struct Level {
    entry: UnitOffset,
    /// Where it was inlined; None for a function of its own.
    call: Option<Call>,
}

#[derive(Clone, Copy, Default)]
struct Call {
    file: Option<u64>,
    line: Option<u32>,
}

/// The code of a unit, as its root entry says.
pub(super) fn root_ranges(session: &Session<'_>, unit: &Unit) -> Result<Vec<(u64, u64)>, Trouble> {
    let mut entries = unit.gimli.entries_raw(None)?;
    let Some(abbreviation) = entries.read_abbreviation()? else {
        return Ok(Vec::new());
    };
    let mut code = Code::default();
    for attribute in abbreviation.attributes() {
        let attribute = entries.read_attribute(*attribute)?;
        code.note(attribute.name(), attribute.value());
    }
    code.ranges(session, unit)
}

/// What the unit knows about the addresses, which ascend.
pub(super) fn look_up(
    session: &Session<'_>,
    unit: &Unit,
    wanted: &[u64],
) -> Result<Vec<Known>, Trouble> {
    let chains = walk(session, unit, wanted)?;
    let lines = lines::Lines::of(session, unit);
    let rows = lines.places(session, wanted)?;
    let mut known = Vec::new();
    for (chain, row) in chains.iter().zip(rows) {
        let mut place = row.clone();
        let mut functions = Vec::new();
        for level in chain.iter().rev() {
            let caller = match level.call {
                Some(call) => Place {
                    file: call.file.and_then(|file| lines.file(session, file)),
                    line: call.line,
                },
                None => Place::default(),
            };
            functions.push(Function {
                name: name(session, unit, level.entry)?,
                inlined: level.call.is_some(),
                place: std::mem::replace(&mut place, caller),
            });
        }
        known.push(Known {
            functions,
            place: row,
        });
    }
    Ok(known)
}

/// For each address the functions that it is in, the outermost first.
fn walk(session: &Session<'_>, unit: &Unit, wanted: &[u64]) -> Result<Vec<Vec<Level>>, Trouble> {
    let mut chains: Vec<Vec<Level>> = vec![Vec::new(); wanted.len()];
    let mut entries = unit.gimli.entries_raw(None)?;
    while !entries.is_empty() {
        session.fuel.step()?;
        let entry = entries.next_offset();
        let Some(abbreviation) = entries.read_abbreviation()? else {
            continue;
        };
        let inlined = match abbreviation.tag() {
            gimli::DW_TAG_subprogram => false,
            gimli::DW_TAG_inlined_subroutine => true,
            _ => {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
        };
        let (mut code, mut call) = (Code::default(), Call::default());
        for attribute in abbreviation.attributes() {
            let attribute = entries.read_attribute(*attribute)?;
            match attribute.name() {
                gimli::DW_AT_call_file => call.file = file_index(attribute.value()),
                gimli::DW_AT_call_line => {
                    call.line = attribute
                        .udata_value()
                        .and_then(|line| line.try_into().ok());
                }
                name => code.note(name, attribute.value()),
            }
        }
        let level = Level {
            entry,
            call: inlined.then_some(call),
        };
        for (start, end) in code.ranges(session, unit)? {
            let first = wanted.partition_point(|address| *address < start);
            let last = wanted.partition_point(|address| *address < end);
            for chain in chains.get_mut(first..last).unwrap_or_default() {
                add(chain, level);
            }
        }
    }
    Ok(chains)
}

/// Entries come outermost first. A function of its own begins anew: functions are written inside of others too.
fn add(chain: &mut Vec<Level>, level: Level) {
    if level.call.is_none() {
        chain.clear();
        chain.push(level);
    } else if !chain.is_empty()
        && chain.len() < MAX_LEVELS
        // One entry, whose ranges overlap.
        && chain.last().is_none_or(|last| last.entry != level.entry)
    {
        chain.push(level);
    }
}

fn file_index(value: AttributeValue<R>) -> Option<u64> {
    match value {
        AttributeValue::FileIndex(index) => Some(index),
        other => other.udata_value(),
    }
}

/// The name of an entry, or of the one that it is an instance of.
fn name(session: &Session<'_>, unit: &Unit, entry: UnitOffset) -> Result<Option<String>, Trouble> {
    let (mut session, mut entry) = (session, entry);
    let mut elsewhere = None;
    for _ in 0..MAX_HOPS {
        session.fuel.step()?;
        let unit = elsewhere.as_deref().unwrap_or(unit);
        let next = match step(session, unit, entry)? {
            Step::Named(name) => return Ok(name),
            Step::Next(next) => next,
        };
        let offset = match next {
            AttributeValue::UnitRef(offset) => {
                entry = offset;
                continue;
            }
            AttributeValue::DebugInfoRef(offset) => offset,
            AttributeValue::DebugInfoRefSup(offset) => match session.shared() {
                Some(shared) => {
                    session = shared;
                    offset
                }
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let other = session.unit_around(offset.0 as u64)?;
        entry = UnitOffset(offset.0.saturating_sub(other.offset as usize));
        elsewhere = Some(other);
    }
    Ok(None)
}

enum Step {
    Named(Option<String>),
    Next(AttributeValue<R>),
}

fn step(session: &Session<'_>, unit: &Unit, entry: UnitOffset) -> Result<Step, Trouble> {
    let mut entries = unit.gimli.entries_raw(Some(entry))?;
    let Some(abbreviation) = entries.read_abbreviation()? else {
        return Ok(Step::Named(None));
    };
    let (mut name, mut next) = (None, None);
    for attribute in abbreviation.attributes() {
        let attribute = entries.read_attribute(*attribute)?;
        match attribute.name() {
            gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => {
                if let Some(name) = session.string(unit, &attribute.value()) {
                    return Ok(Step::Named(Some(name)));
                }
            }
            gimli::DW_AT_name => name = session.string(unit, &attribute.value()),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                next = Some(attribute.value());
            }
            _ => {}
        }
    }
    Ok(match (name, next) {
        (None, Some(next)) => Step::Next(next),
        (name, _) => Step::Named(name),
    })
}

/// The attributes that say where code is.
#[derive(Default)]
struct Code {
    low: Option<AttributeValue<R>>,
    high: Option<AttributeValue<R>>,
    ranges: Option<AttributeValue<R>>,
}

impl Code {
    fn note(&mut self, name: gimli::DwAt, value: AttributeValue<R>) {
        match name {
            gimli::DW_AT_low_pc => self.low = Some(value),
            gimli::DW_AT_high_pc => self.high = Some(value),
            gimli::DW_AT_ranges => self.ranges = Some(value),
            _ => {}
        }
    }

    /// Without code that the linker threw away: it states address 0 or the highest ones.
    fn ranges(self, session: &Session<'_>, unit: &Unit) -> Result<Vec<(u64, u64)>, Trouble> {
        let view = &session.view;
        let mut found = Vec::new();
        if let Some(ranges) = self.ranges
            && let Some(mut ranges) = view.attr_ranges(&unit.gimli, ranges)?
        {
            while let Some(range) = ranges.next()? {
                session.fuel.step()?;
                found.push((range.begin, range.end));
            }
        } else if let Some(low) = self.low
            && let Some(low) = view.attr_address(&unit.gimli, low)?
        {
            let high = match self.high {
                Some(high) => match view.attr_address(&unit.gimli, high.clone())? {
                    Some(high) => high,
                    None => low.saturating_add(high.udata_value().unwrap_or(0)),
                },
                None => low,
            };
            found.push((low, high));
        }
        found.retain(|(start, end)| *start != 0 && start < end);
        Ok(found)
    }
}
