//! Debug information: names, files and lines of addresses in a file of anybody's making.

use std::sync::Arc;

use crate::symbolize::dwarf::{Dwarf, Known};
use crate::target::modules::elf::{segments, visit};
use crate::unwind::fixture::memory_file;

/// Steps of the index, and of one look-up: a bound on time that does not depend on the machine. Production has more.
const MAX_STEPS: u64 = 100_000;
/// Where the code of small programs is.
const CODE: std::ops::Range<u64> = 0x1000..0x2000;
/// A name is read in so many bytes; what is no UTF-8 takes three for one. A path is made of three.
const MAX_TEXT: usize = 4 * 3 * (16 << 10);

/// Reads `data` as a file with debug information, which is also the one that others share (`dwz`), and looks addresses up.
///
/// # Panics
/// A name is larger than what is ever read.
pub fn dwarf(data: &[u8]) {
    let Ok(file) = memory_file(data) else {
        return;
    };
    let mut addresses: Vec<u64> = CODE.step_by(64).chain([0, u64::MAX]).collect();
    for segment in visit(&file, segments).unwrap_or_default() {
        addresses.extend([segment.address, segment.address.wrapping_add(1)]);
    }
    let file = Arc::new(file);
    let open = |shared| Dwarf::open_within(MAX_STEPS, &file, shared).ok().flatten();
    for shared in [None, open(None)] {
        let Some(dwarf) = open(shared) else {
            return;
        };
        let mut found = vec![None; addresses.len()];
        // Part of it may be there all the same.
        let _ = dwarf.look_up(&addresses, &mut found);
        found.iter().flatten().for_each(check);
    }
}

fn check(known: &Known) {
    let functions = known.functions.iter();
    let places = functions.clone().map(|function| &function.place);
    let files = places.chain([&known.place]).map(|place| &place.file);
    for text in functions
        .map(|function| &function.name)
        .chain(files)
        .flatten()
    {
        assert!(text.len() <= MAX_TEXT, "{} bytes", text.len());
    }
}
