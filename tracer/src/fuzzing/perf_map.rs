//! Perf maps.

use crate::symbolize::perf_map::PerfMap;

/// Reads `data` as a perf map and looks names up in it.
///
/// # Panics
/// A name has control characters, or a look-up is not what the lines say.
pub fn perf_map(data: &[u8]) {
    let Ok(map) = PerfMap::parse("perf-1.map", data) else {
        return;
    };
    let starts = data.split(|&byte| byte == b'\n').filter_map(|line| {
        let word = line.split(|&byte| byte == b' ').next()?;
        u64::from_str_radix(std::str::from_utf8(word).ok()?.trim_start_matches("0x"), 16).ok()
    });
    for start in starts {
        for address in [start.wrapping_sub(1), start, start.wrapping_add(1)] {
            if let Some(name) = map.name(address) {
                assert!(name.len() <= 3 * 4096, "{} bytes", name.len());
                assert!(!name.chars().any(char::is_control), "{name:?}");
            }
        }
    }
}
