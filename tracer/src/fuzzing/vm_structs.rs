//! Detection of a JVM by its description of itself, with changes in it.

use std::cell::Cell;

use crate::unwind::hotspot::layout::{CodeCacheLayout, MAX_STRUCT, VmLayout};
use crate::unwind::hotspot::{HotSpot, load_bias};
use crate::unwind::memory::PAGE;

use super::input::Input;
use super::walk::{Case, Edited, RECORDED, check, described_edits};

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
    let edits = described_edits(described, &mut input);
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
