//! How much of a range is resident, by the page map.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::target::process::Process;

/// `/proc/PID/pagemap` has an entry of eight bytes for each page of this size.
const PAGE: u64 = 4096;
/// Documentation/admin-guide/mm/pagemap.rst. An entry of the page of zeroes, which RSS does not count, says so too.
const PRESENT: u64 = 1 << 63;
/// Entries that are read at once.
const BATCH: usize = 8192;
/// Pages that one range may have: a terabyte.
const MAX_PAGES: u64 = 1 << 28;

/// The page map of a process.
#[derive(Debug)]
pub struct Residence(File);

impl Residence {
    /// # Errors
    /// The process has ended, or is not ours to look into.
    pub fn of(process: &Process) -> io::Result<Residence> {
        process.open_file("pagemap").map(Residence)
    }

    /// Resident bytes of the pages from `start` to `end`; 0 where they can't be told.
    pub fn bytes(&self, start: u64, end: u64) -> u64 {
        let mut page = start / PAGE;
        let last = (end.div_ceil(PAGE)).min(page.saturating_add(MAX_PAGES));
        let mut present = 0;
        let mut buffer =
            vec![0; 8 * BATCH.min(usize::try_from(last.saturating_sub(page)).unwrap_or(BATCH))];
        while page < last {
            let pages = (last - page).min(BATCH as u64);
            let bytes = &mut buffer[..8 * pages as usize];
            let Some(offset) = page.checked_mul(8) else {
                break;
            };
            if self.0.read_exact_at(bytes, offset).is_err() {
                break;
            }
            let (entries, _) = bytes.as_chunks::<8>();
            let held = |entry: &&[u8; 8]| u64::from_ne_bytes(**entry) & PRESENT != 0;
            present += entries.iter().filter(held).count() as u64;
            page += pages;
        }
        present * PAGE
    }
}
