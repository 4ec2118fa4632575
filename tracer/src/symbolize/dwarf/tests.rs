use std::io::Write as _;

use object::elf::SHT_PROGBITS;

use super::*;
use crate::symbolize::image::{self, Written};
use crate::target::modules::open;

const CODE: u64 = 0x1000;
const END: u64 = 0x2000;

/// Abbreviations: 1 a unit, 2 a function, 3 an inlined call with an origin, 4 a function with a list of ranges.
const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, 0x11, 0x01, 0x12, 0x07, 0, 0, // low_pc addr, high_pc data8
    2, 0x2e, 1, 0x03, 0x08, 0x11, 0x01, 0x12, 0x07, 0, 0, // name string
    3, 0x1d, 1, 0x31, 0x13, 0x11, 0x01, 0x12, 0x07, 0x59, 0x0b, 0,
    0, // abstract_origin ref4, call_line data1
    4, 0x2e, 0, 0x55, 0x17, 0, 0, // ranges sec_offset
    0,
];

/// One unit of DWARF 4 with these entries below its root.
fn unit(entries: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0, 0, 0, 0, 0, 8, 1];
    body.extend(CODE.to_le_bytes());
    body.extend((END - CODE).to_le_bytes());
    body.extend(entries);
    body.push(0);
    let mut unit = (body.len() as u32).to_le_bytes().to_vec();
    unit.extend(body);
    unit
}

/// Where the first entry below the root of a unit is.
const FIRST: u32 = 4 + 7 + 1 + 16;

fn function(name: &str) -> Vec<u8> {
    let mut entry = vec![2];
    entry.extend(name.bytes());
    entry.push(0);
    entry.extend(CODE.to_le_bytes());
    entry.extend((END - CODE).to_le_bytes());
    entry
}

fn inlined(origin: u32, line: u8) -> Vec<u8> {
    let mut entry = vec![3];
    entry.extend(origin.to_le_bytes());
    entry.extend(CODE.to_le_bytes());
    entry.extend((END - CODE).to_le_bytes());
    entry.push(line);
    entry
}

fn file(sections: &[(&str, u64, &[u8])]) -> Arc<File> {
    let written: Vec<_> = sections
        .iter()
        .map(|(name, flags, bytes)| Written {
            name,
            kind: SHT_PROGBITS,
            flags: *flags,
            bytes,
            ..Written::default()
        })
        .collect();
    Arc::new(open::in_memory(c"test", &image::elf(&written)).expect("memory"))
}

fn dwarf_file(info: &[u8]) -> Arc<File> {
    file(&[
        (".debug_info", 0, info),
        (".debug_abbrev", 0, ABBREVIATIONS),
    ])
}

fn look_up(file: &Arc<File>, address: u64) -> Result<Option<Known>, Trouble> {
    let mut found = [None];
    if let Some(dwarf) = Dwarf::open_within(1_000_000, file, None)? {
        dwarf.look_up(&[address], &mut found)?;
    }
    let [found] = found;
    Ok(found)
}

fn names(known: &Known) -> Vec<(Option<&str>, Option<u32>)> {
    let functions = known.functions.iter();
    functions
        .map(|f| (f.name.as_deref(), f.place.line))
        .collect()
}

/// Proves that inlined calls come leaf first and that each level has the line of the call below it.
#[test]
fn inlined_calls_are_levels() {
    let mut entries = function("f");
    entries.extend(inlined(FIRST, 11));
    entries.extend(inlined(FIRST, 12));
    entries.extend([0, 0, 0]);
    let known = look_up(&dwarf_file(&unit(&entries)), CODE + 5)
        .expect("sense")
        .expect("a function");
    assert_eq!(
        names(&known),
        [
            (Some("f"), None),
            (Some("f"), Some(12)),
            (Some("f"), Some(11))
        ]
    );
    assert_eq!(
        known
            .functions
            .iter()
            .map(|f| f.inlined)
            .collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(
        look_up(&dwarf_file(&unit(&entries)), END).expect("sense"),
        None
    );
}

/// Proves that a unit which makes no sense is said to, and costs no other unit its names.
#[test]
fn a_damaged_unit_costs_its_own_names_only() {
    let mut entries = function("f");
    entries.push(0);
    let info = [unit(&[99]), unit(&entries), unit(&[99])].concat();
    let dwarf = Dwarf::open(&dwarf_file(&info), None)
        .expect("sense")
        .expect("units");
    let mut found = [None];
    let looked_up = dwarf.look_up(&[CODE], &mut found);
    assert!(matches!(looked_up, Err(Trouble::Malformed(_))));
    let known = found[0].as_ref().expect("a function");
    assert_eq!(known.functions[0].name.as_deref(), Some("f"));
}

/// Proves that calls inlined a hundred thousand levels deep neither overflow our stack nor come out in full.
#[test]
fn deep_nesting_is_bounded() {
    let mut entries = function("f");
    for _ in 0..100_000 {
        entries.extend(inlined(FIRST, 1));
    }
    let known = look_up(&dwarf_file(&unit(&entries)), CODE)
        .expect("sense")
        .expect("a function");
    assert_eq!(known.functions.len(), 128);
}

/// Proves that an entry which is its own origin has no name, and does not keep us.
#[test]
fn circles_of_origins_end() {
    let mut entries = function("f");
    let own = FIRST + entries.len() as u32;
    entries.extend(inlined(own, 1));
    let known = look_up(&dwarf_file(&unit(&entries)), CODE)
        .expect("sense")
        .expect("a function");
    assert_eq!(known.functions[0].name, None);
    assert_eq!(known.functions[1].name.as_deref(), Some("f"));
}

/// Proves that a million ranges times a thousand functions are given up on: entries share one long list.
#[test]
fn shared_lists_of_ranges_run_out_of_fuel() {
    let mut ranges = Vec::new();
    for _ in 0..10_000 {
        ranges.extend(CODE.to_le_bytes());
        ranges.extend(END.to_le_bytes());
    }
    ranges.extend([0; 16]);
    let entries: Vec<u8> = (0..1000).flat_map(|_| [4, 0, 0, 0, 0]).collect();
    let file = file(&[
        (".debug_info", 0, &unit(&entries)),
        (".debug_abbrev", 0, ABBREVIATIONS),
        (".debug_ranges", 0, &ranges),
    ]);
    assert!(matches!(look_up(&file, CODE), Err(Trouble::Endless)));
}

/// Proves that a section which states another size than it unpacks to is not believed, whatever the size, and that
/// neither bombs nor announcements take memory.
#[test]
fn compressed_sections_are_bounded() {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; 1 << 20]).expect("memory");
    let packed = packed.finish().expect("memory");
    const ZLIB: u64 = 1;
    const SHF_COMPRESSED: u64 = 1 << 11;
    for (stated, fits) in [
        (1 << 20, true),
        (100, false),
        (2 << 20, false),
        (1 << 40, false),
        (u64::MAX, false),
    ] {
        let mut section = ZLIB.to_le_bytes().to_vec();
        section.extend(u64::to_le_bytes(stated));
        section.extend(1_u64.to_le_bytes());
        section.extend(&packed);
        let file = file(&[(".debug_str", SHF_COMPRESSED, &section)]);
        let sections = Sections::of(&file).expect("an ELF file");
        let loaded = sections.load(".debug_str");
        assert_eq!(
            loaded.is_ok_and(|bytes| bytes.len() == 1 << 20),
            fits,
            "{stated}"
        );
    }
}

/// Proves that debug information with any one byte wrong, or cut off anywhere, is read without a panic.
#[test]
fn damaged_debug_information_is_survived() {
    let mut entries = function("f");
    entries.extend(inlined(FIRST, 11));
    entries.extend([0, 0]);
    let info = unit(&entries);
    let damaged = |bytes: &[u8], at: usize, wrong: u8| {
        let mut damaged = bytes.to_vec();
        damaged[at] = wrong;
        damaged
    };
    for wrong in [0, 1, 2, 0x7f, 0x80, 0xf0, 0xff] {
        for at in 0..info.len() {
            let _ = look_up(&dwarf_file(&damaged(&info, at, wrong)), CODE);
            let _ = look_up(&dwarf_file(&info[..at]), CODE);
        }
        for at in 0..ABBREVIATIONS.len() {
            let abbreviations = damaged(ABBREVIATIONS, at, wrong);
            let file = file(&[
                (".debug_info", 0, &info),
                (".debug_abbrev", 0, &abbreviations),
            ]);
            let _ = look_up(&file, CODE);
        }
    }
}

/// Proves that our own debug information, as a compiler makes it, is read with bytes wrong at random, without a panic.
#[test]
fn damaged_line_tables_are_survived() {
    let own = Arc::new(File::open("/proc/self/exe").expect("our own binary"));
    let sections = Sections::of(&own).expect("an ELF file");
    let part = |name: &str, most: usize| {
        let section = sections.open(name).expect("our own section");
        section
            .read_up_to(0, most)
            .expect("our own section")
            .into_owned()
    };
    let (info, abbreviations, lines) = (
        part(".debug_info", 40 << 10),
        part(".debug_abbrev", 400 << 10),
        part(".debug_line", 40 << 10),
    );
    for at in (0..lines.len()).step_by(997) {
        let mut lines = lines.clone();
        lines[at] ^= 0xff;
        let file = file(&[
            (".debug_info", 0, &info),
            (".debug_abbrev", 0, &abbreviations),
            (".debug_line", 0, &lines),
        ]);
        let Ok(Some(dwarf)) = Dwarf::open_within(1_000_000, &file, None) else {
            continue;
        };
        let starts: Vec<u64> = dwarf
            .ranges
            .iter()
            .map(|range| range.start)
            .take(3)
            .collect();
        let _ = dwarf.look_up(&starts, &mut vec![None; starts.len()]);
    }
}
