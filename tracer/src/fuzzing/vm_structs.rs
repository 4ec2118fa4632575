//! Detection of a JVM by its description of itself, with changes in it.

use std::cell::Cell;

use crate::unwind::fixture::Described;
use crate::unwind::hotspot::layout::{CodeCacheLayout, MAX_STRUCT, VmLayout};
use crate::unwind::hotspot::{HotSpot, load_bias};
use crate::unwind::memory::PAGE;

use super::input::Input;
use super::walk::{Case, Edit, Edited, MAX_EDITS, RECORDED, check};

/// Detects a recorded JVM in changed memory, and walks one of its stacks with the layout that comes of it.
///
/// Input: JVM (two bytes), number of edits, the edits of what detection reads; then as for `walk`.
///
/// # Panics
/// The detection takes nonsense for a layout, or a walk with it does not end in bounds.
pub fn vm_structs(data: &[u8]) {
    let mut input = Input::new(data);
    let jvms: Vec<_> = RECORDED
        .iter()
        .filter(|recorded| recorded.described.is_some())
        .collect();
    let Some(&recorded) = input.pick(&jvms) else {
        return;
    };
    let Some(described) = &recorded.described else {
        return;
    };
    let edits = edits(described, &mut input);
    let memory = Edited {
        base: &described.memory,
        edits: &edits,
        reads: Cell::new(0),
    };
    let bias = load_bias(&described.libjvm).expect("the recorded library has segments");
    let Ok(hotspot) = HotSpot::detect(&&memory, &described.libjvm, bias) else {
        return;
    };
    check_layout(hotspot.layout());
    let Some(case) = Case::read(recorded, &mut input) else {
        return;
    };
    let memory = Edited {
        base: &recorded.memory,
        edits: &case.edits,
        reads: Cell::new(0),
    };
    let mut unwinder = recorded.unwinder_of(&memory, hotspot);
    check(&recorded.modules, &mut unwinder, &case, &memory);
}

fn check_layout(layout: &VmLayout) {
    let CodeCacheLayout {
        memory,
        segmap,
        log2_segment_size,
        block_size,
        ..
    } = layout.code_cache;
    for offset in [memory, segmap, log2_segment_size, block_size] {
        assert!(offset < MAX_STRUCT, "offset {offset}");
    }
    for len in [layout.blob.header_len, layout.nmethod.header_len] {
        assert!(len as u64 <= 2 * PAGE, "a header of {len} bytes");
    }
}

/// Changes of what the detection of a JVM reads.
fn edits(described: &Described, input: &mut Input<'_>) -> Vec<Edit> {
    let starts: Vec<_> = described.memory.ranges.iter().collect();
    let edits = usize::from(input.u8()) % (MAX_EDITS + 1);
    let mut edit = || {
        let Some((start, bytes)) = input.pick(&starts) else {
            return Edit {
                address: 0,
                bytes: None,
            };
        };
        let offset = u64::from(input.u32()) % (bytes.len() as u64);
        let address = start.wrapping_add(offset);
        let bytes = match input.u8() % 6 {
            0 => None,
            1 => Some(input.u64().to_le_bytes().to_vec()),
            2 => Some((u64::MAX - u64::from(input.u16())).to_le_bytes().to_vec()),
            3 => Some(u64::from(input.u16()).to_le_bytes().to_vec()),
            // Another entry's name, or a string without an end.
            4 => Some(
                start
                    .wrapping_add(u64::from(input.u32()))
                    .to_le_bytes()
                    .to_vec(),
            ),
            _ => Some(vec![input.u8()]),
        };
        Edit { address, bytes }
    };
    (0..edits).map(|_| edit()).collect()
}
