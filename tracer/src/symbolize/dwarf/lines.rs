//! The line table of a unit.

use super::session::{Session, Unit};
use super::{Place, R, Trouble};

pub(super) struct Lines<'a> {
    unit: &'a Unit,
    /// What relative paths are relative to.
    folder: Option<String>,
}

/// A row of the table that covers all addresses up to the next.
struct Row {
    address: u64,
    file: u64,
    line: Option<u32>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(session: &Session<'_>, unit: &'a Unit) -> Self {
        Lines {
            unit,
            folder: folder(session, unit),
        }
    }

    /// The place of each of the addresses, which ascend.
    pub(super) fn places(
        &self,
        session: &Session<'_>,
        wanted: &[u64],
    ) -> Result<Vec<Place>, Trouble> {
        let mut rows_of = vec![None; wanted.len()];
        let Some(program) = self.unit.gimli.line_program.clone() else {
            return Ok(vec![Place::default(); wanted.len()]);
        };
        let mut rows = program.rows();
        let mut before: Option<Row> = None;
        let mut thrown_away = false;
        while let Some((_, row)) = rows.next_row()? {
            session.fuel.step()?;
            let address = row.address();
            match &before {
                Some(before) if !thrown_away => {
                    let first = wanted.partition_point(|wanted| *wanted < before.address);
                    let last = wanted.partition_point(|wanted| *wanted < address);
                    for slot in rows_of.get_mut(first..last).unwrap_or_default() {
                        *slot = Some((before.file, before.line));
                    }
                }
                Some(_) => {}
                // The linker leaves the tables of functions that it threw away, at address 0.
                None => thrown_away = address == 0,
            }
            before = (!row.end_sequence()).then(|| Row {
                address,
                file: row.file_index(),
                line: row.line().and_then(|line| line.get().try_into().ok()),
            });
        }
        let place = |row: Option<(u64, Option<u32>)>| match row {
            Some((file, line)) => Place {
                file: self.file(session, file),
                line,
            },
            None => Place::default(),
        };
        Ok(rows_of.into_iter().map(place).collect())
    }

    /// The path of a source file, by its number in the table.
    pub(super) fn file(&self, session: &Session<'_>, index: u64) -> Option<String> {
        let header = self.unit.gimli.line_program.as_ref()?.header();
        let file = header.file(index)?;
        let mut path = session.string(self.unit, &file.path_name())?;
        let folder = header
            .directory(file.directory_index())
            .and_then(|folder| session.string(self.unit, &folder));
        for folder in [folder, self.folder.clone()].into_iter().flatten() {
            if !path.starts_with('/') {
                path = format!("{}/{path}", folder.trim_end_matches('/'));
            }
        }
        Some(path)
    }
}

fn folder(session: &Session<'_>, unit: &Unit) -> Option<String> {
    let mut entries = unit.gimli.entries_raw(None).ok()?;
    let abbreviation = entries.read_abbreviation().ok()??;
    for attribute in abbreviation.attributes() {
        let attribute: gimli::Attribute<R> = entries.read_attribute(*attribute).ok()?;
        if attribute.name() == gimli::DW_AT_comp_dir {
            return session.string(unit, &attribute.value());
        }
    }
    None
}
