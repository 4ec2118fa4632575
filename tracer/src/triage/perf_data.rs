//! The JVM's performance counters (`hsperfdata`), as a file or in memory.
//!
//! Layout: `PerfDataPrologue` and `PerfDataEntry` of HotSpot's `perfMemory.hpp`, version 2.0 since JDK 5. The bytes are the
//! target's, may change while they are read, and may be anything.

use std::collections::BTreeMap;

use super::reading::{Collections, Generation};

/// `PerfDataMemorySize` is 32 KiB by default; more than this is not read.
pub const MAX_BYTES: usize = 4 << 20;
/// A JVM has about 300.
const MAX_ENTRIES: usize = 1 << 14;
const MAX_NAME: usize = 256;
const MAX_TEXT: usize = 4096;
/// First bytes, whatever the byte order.
const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];
const ENTRY_BYTES: usize = 20;

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfData {
    pub numbers: BTreeMap<String, i64>,
    pub texts: BTreeMap<String, String>,
}

/// Why bytes are no perf data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPerfData {
    #[error("it does not begin as perf data does")]
    Magic,
    #[error("it has the layout of version {0}, and only 2 is known")]
    Version(u8),
    #[error("the JVM has not finished writing it")]
    Starting,
}

/// Reads all counters that make sense; an entry that does not ends the list.
///
/// # Errors
/// The bytes are no perf data at all.
pub fn parse(bytes: &[u8]) -> Result<PerfData, NoPerfData> {
    let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes);
    let header: &[u8; 32] = bytes.first_chunk().ok_or(NoPerfData::Magic)?;
    if header[..4] != MAGIC {
        return Err(NoPerfData::Magic);
    }
    if header[5] != 2 {
        return Err(NoPerfData::Version(header[5]));
    }
    if header[7] == 0 {
        return Err(NoPerfData::Starting);
    }
    let reader = Reader {
        bytes,
        is_little: header[4] == 1,
    };
    let (first, count) = (reader.offset(24), reader.offset(28));
    let mut data = PerfData::default();
    let mut at = first.unwrap_or(bytes.len());
    for _ in 0..count.unwrap_or(0).min(MAX_ENTRIES) {
        let Some(next) = reader.entry(at, &mut data) else {
            break;
        };
        at = next;
    }
    Ok(data)
}

struct Reader<'a> {
    bytes: &'a [u8],
    is_little: bool,
}

impl Reader<'_> {
    fn word(&self, at: usize) -> Option<i32> {
        let bytes = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_little {
            i32::from_le_bytes(bytes)
        } else {
            i32::from_be_bytes(bytes)
        })
    }

    fn offset(&self, at: usize) -> Option<usize> {
        usize::try_from(self.word(at)?).ok()
    }

    /// Reads the entry at `at`; where the next one is.
    fn entry(&self, at: usize, data: &mut PerfData) -> Option<usize> {
        let length = self.offset(at)?;
        let entry = self.bytes.get(at..at.checked_add(length)?)?;
        if length < ENTRY_BYTES {
            return None;
        }
        let name = text(entry.get(self.offset(at + 4)?..)?, MAX_NAME)?;
        let elements = self.offset(at + 8)?;
        let value = entry.get(self.offset(at + 16)?..)?;
        match (*entry.get(12)?, elements) {
            (b'J', 0) => {
                let bytes = *value.first_chunk()?;
                let number = if self.is_little {
                    i64::from_le_bytes(bytes)
                } else {
                    i64::from_be_bytes(bytes)
                };
                data.numbers.insert(name, number);
            }
            (b'B', 1..) => {
                let value = value.get(..elements.min(MAX_TEXT)).unwrap_or(value);
                data.texts
                    .insert(name, text(value, MAX_TEXT).unwrap_or_default());
            }
            _ => {}
        }
        at.checked_add(length)
    }
}

/// The text up to its NUL, or to the end of what there is.
fn text(bytes: &[u8], most: usize) -> Option<String> {
    let bytes = bytes.get(..most).unwrap_or(bytes);
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    (end > 0).then(|| crate::target::text::printable(&bytes[..end]))
}

impl PerfData {
    fn number(&self, name: &str) -> Option<u64> {
        u64::try_from(*self.numbers.get(name)?).ok()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Ticks of the JVM's clock as seconds.
    fn seconds(&self, name: &str) -> Option<f64> {
        let frequency = self
            .number("sun.os.hrt.frequency")
            .filter(|&frequency| frequency > 0)?;
        Some(self.number(name)? as f64 / frequency as f64)
    }

    pub fn java_version(&self) -> Option<&str> {
        self.text("java.property.java.version")
    }

    /// Loaded and not unloaded since.
    pub fn classes(&self) -> Option<u64> {
        let loaded = self.number("java.cls.loadedClasses")?
            + self.number("java.cls.sharedLoadedClasses").unwrap_or(0);
        let unloaded = ["java.cls.unloadedClasses", "java.cls.sharedUnloadedClasses"];
        let unloaded: u64 = unloaded.iter().filter_map(|name| self.number(name)).sum();
        Some(loaded.saturating_sub(unloaded))
    }

    pub fn java_threads(&self) -> Option<u64> {
        self.number("java.threads.live")
    }

    /// The generations as of the last collection.
    pub fn generations(&self) -> Vec<Generation> {
        let generation = |index: usize| {
            let prefix = format!("sun.gc.generation.{index}");
            let number = |name: &str| self.number(&format!("{prefix}.{name}"));
            let spaces = number("spaces")?.min(8);
            let used = (0..spaces).filter_map(|space| number(&format!("space.{space}.used")));
            Some(Generation {
                name: self.text(&format!("{prefix}.name"))?.to_owned(),
                capacity: number("capacity")?,
                max: number("maxCapacity")?,
                used: used.fold(0, u64::saturating_add),
            })
        };
        // ZGC without generations has number 1 alone.
        (0..4).filter_map(generation).collect()
    }

    /// What each collector has done.
    pub fn collections(&self) -> Vec<Collections> {
        let collector = |index: usize| {
            let prefix = format!("sun.gc.collector.{index}");
            let name = self.text(&format!("{prefix}.name"))?;
            Some(Collections {
                name: name.to_owned(),
                count: self.number(&format!("{prefix}.invocations"))?,
                seconds: self.seconds(&format!("{prefix}.time")).unwrap_or(0.0),
                full: is_full(index, name),
            })
        };
        // ZGC has no number 0 or 1 where a kind of collection does not exist.
        (0..4).filter_map(collector).collect()
    }

    /// Of the old generation right after a full collection: known while no other collection has followed it. Shenandoah's
    /// numbers are those of now, whatever it is doing.
    pub fn old_after_full(&self) -> Option<u64> {
        if self
            .text("sun.gc.collector.1.name")
            .is_some_and(|name| name.starts_with("Shenandoah"))
        {
            return None;
        }
        let exit = |index: usize| self.number(&format!("sun.gc.collector.{index}.lastExitTime"));
        let is_full = |index: &usize| {
            let name = self.text(&format!("sun.gc.collector.{index}.name"));
            name.is_some_and(|name| is_full(*index, name))
        };
        let full = (0..4)
            .filter(is_full)
            .filter_map(exit)
            .max()
            .filter(|&time| time > 0)?;
        if exit(0).is_some_and(|young| young > full) {
            return None;
        }
        self.generations().last().map(|old| old.used)
    }
}

/// Number 1 is Serial's and Parallel's collector of everything (`MSC`, `PSParallelCompact` …) and G1's full pauses. ZGC
/// collects everything in each cycle, or, with generations, in each major one; it counts their pauses, as number 2.
fn is_full(index: usize, name: &str) -> bool {
    match index {
        1 => !name.contains("oncurrent") && !name.contains("CMS"),
        2 => name.starts_with("Z concurrent") || name.starts_with("ZGC major"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
