use super::*;
use crate::symbolize::native::symbolizer;

/// A symbol table and its names, of symbols with a type and binding, a section, a value and a size.
fn table(symbols: &[(&[u8], u8, u16, u64, u64)]) -> Vec<u8> {
    let (mut entries, mut names) = (vec![0; SYMBOL], vec![0]);
    for (name, info, section, value, size) in symbols {
        entries.extend((names.len() as u32).to_le_bytes());
        entries.extend([*info, 0]);
        entries.extend(section.to_le_bytes());
        entries.extend(value.to_le_bytes());
        entries.extend(size.to_le_bytes());
        names.extend(*name);
        names.push(0);
    }
    let section = |name, kind, link, bytes| Written {
        name,
        kind,
        link,
        bytes,
        ..Written::default()
    };
    image::elf(&[
        section(".symtab", SHT_SYMTAB, 2, &entries),
        section(".strtab", SHT_STRTAB, 0, &names),
    ])
}

fn looked_up(elf: &[u8], addresses: &[u64]) -> Vec<Option<String>> {
    let file = Arc::new(open::in_memory(c"test", elf).expect("memory"));
    let symbols = Symbols::collect(&file, None, &mut Vec::new()).expect("memory");
    symbols
        .look_up(&symbolizer(), addresses)
        .expect("a file of our own")
}

/// Proves that functions are found by any address in them, and that data and undefined symbols are not.
#[test]
fn functions_are_found() {
    let elf = table(&[
        (b"f", 0x12, 1, 0x1000, 0x10),
        (b"data", 0x11, 1, 0x2000, 0x10),
        (b"imported", 0x12, 0, 0x3000, 0x10),
        (b"$x", 0x00, 1, 0x4000, 0),
    ]);
    let f = Some("f".to_owned());
    assert_eq!(
        looked_up(&elf, &[0xfff, 0x1000, 0x100f, 0x1010, 0x2000, 0x3000]),
        [None, f.clone(), f, None, None, None]
    );
}

/// Proves that symbols which make no sense cost nothing but their own names.
#[test]
fn nonsense_is_left_out() {
    let elf = table(&[
        (b"endless", 0x12, 1, 0x10, u64::MAX),
        (b"\xff\xfe", 0x12, 1, 0x1000, 0x1000),
        (b"", 0x12, 1, 0x1000, 0x1000),
        (b"fine", 0x12, 1, 0x1800, 0x10),
    ]);
    assert_eq!(
        looked_up(&elf, &[0x10, 0x1000, 0x1808]),
        [None, None, Some("fine".to_owned())]
    );
}

/// Proves that a file with any one byte wrong is read without a panic, as is one that is cut off anywhere.
#[test]
fn damaged_files_are_survived() {
    let elf = table(&[(b"f", 0x12, 1, 0x1000, 0x10), (b"g", 0x12, 1, 0x1010, 0)]);
    for at in 0..elf.len() {
        for wrong in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = elf.clone();
            damaged[at] = wrong;
            looked_up(&damaged, &[0x1000, 0x1010, u64::MAX]);
        }
        looked_up(&elf[..at], &[0x1000]);
    }
}
