//! Files of the target: everything that is read of an ELF file.

use std::sync::Arc;

use gimli::UnwindContext;

use crate::functions::resolve::resolve;
use crate::stack::ModuleId;
use crate::target::modules::elf::{build_id, segments, stated_address, visit};
use crate::target::modules::{MappedRange, Module};
use crate::unwind::cfi::CfiTables;
use crate::unwind::fixture::memory_file;
use crate::unwind::hotspot::{HotSpot, load_bias};
use crate::unwind::memory::RecordedMemory;

/// Reads `data` as an ELF file in all ways in which files of the target are read.
///
/// # Panics
/// Something that was read is larger than what is ever read.
pub fn elf(data: &[u8]) {
    let Ok(file) = memory_file(data) else {
        return;
    };
    if let Some(id) = build_id(&file) {
        assert!(id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let segments = visit(&file, segments).unwrap_or_default();
    assert!(segments.len() <= 256);
    let mut offsets: Vec<u64> = vec![0, 64, 0x1000, data.len() as u64, u64::MAX];
    for segment in &segments {
        offsets.extend([segment.file.start, segment.file.end]);
    }
    for &offset in &offsets {
        stated_address(&segments, offset);
    }
    if let Some(tables) = CfiTables::load(&file) {
        let mut context = UnwindContext::new();
        for offset in offsets.into_iter().chain((0..0x2000).step_by(16)) {
            tables.rule(offset, &mut context);
        }
    }
    for function in resolve(&file) {
        assert!(
            function.code.len() <= 4096,
            "{} bytes of code",
            function.code.len()
        );
    }
    let range = MappedRange {
        start: 0x40_0000,
        end: 0x50_0000,
        file_offset: 0,
        executable: true,
    };
    let module = Module {
        id: ModuleId(0),
        path: "libjvm.so".into(),
        deleted: false,
        device: (0, 0),
        inode: 0,
        build_id: None,
        file: Arc::new(file),
        ranges: vec![range],
    };
    let bias = load_bias(&module).unwrap_or(0);
    let detected = HotSpot::detect(&RecordedMemory::default(), &module, bias);
    assert!(detected.is_err(), "a JVM without memory");
}
