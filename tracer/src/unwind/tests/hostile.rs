//! Whatever the target has in its memory and on its stacks: a walk ends, in bounds, and does not panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::stack::{Frame, StackEnd, UnknownReason};
use crate::unwind::memory::RecordedMemory;
use crate::unwind::walk::MAX_FRAMES;
use crate::unwind::{StackCapture, Unwinder};

use super::describe;
use super::fixture::fixtures;
use super::own_stack::{OwnStack, unwinder};
use crate::unwind::fixture::RecordedStack;

/// Values that are likely to hurt: near the ends of numbers, small, or any.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x2000_u64,
        (0..0x2000_u64).prop_map(|low| u64::MAX - low),
        Just(0x7fff_ffff_e000),
        any::<i32>().prop_map(|word| word as u64),
    ]
}

/// Positions and the words to put there.
fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, u64)>> {
    prop::collection::vec((any::<prop::sample::Index>(), word()), 0..40)
}

fn mutate(bytes: &mut [u8], mutations: &[(prop::sample::Index, u64)]) {
    for (index, word) in mutations {
        if bytes.len() >= 8 {
            let at = index.index(bytes.len() - 7);
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
}

proptest! {
    /// A real stack with some words changed, and with any registers.
    #[test]
    fn native(mutations in mutations(), ip in prop::option::of(word()), sp in prop::option::of(word()), fp in prop::option::of(word())) {
        let (modules, mut unwinder) = unwinder();
        let mut captured = OwnStack::here();
        mutate(&mut captured.bytes, &mutations);
        captured.registers.ip = ip.unwrap_or(captured.registers.ip);
        captured.registers.sp = sp.unwrap_or(captured.registers.sp);
        captured.registers.fp = fp.unwrap_or(captured.registers.fp);
        let stack = unwinder.unwind(&modules, &captured.capture());
        prop_assert!(stack.frames.len() <= MAX_FRAMES + 1);
    }

    /// Recorded Java stacks with words changed on the stack.
    #[test]
    fn java_stack(mutations in mutations(), jvm in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(), fp in prop::option::of(word())) {
        let fixture = jvm.get(fixtures());
        let (modules, mut unwinder) = fixture.replay();
        let (recorded, bytes) = which.get(&fixture.stacks);
        let mut bytes = bytes.clone();
        mutate(&mut bytes, &mutations);
        let mut capture = recorded.capture(&bytes);
        capture.registers.fp = fp.unwrap_or(recorded.fp);
        let stack = unwinder.unwind(modules, &capture);
        prop_assert!(stack.frames.len() <= MAX_FRAMES + 1);
    }

    /// Recorded Java stacks with the JVM's metadata changed.
    #[test]
    fn java_metadata(jvm in any::<prop::sample::Index>(), mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), word()), 1..60)) {
        let fixture = jvm.get(fixtures());
        let (modules, mut unwinder) = fixture.replay();
        let mut memory = std::mem::take(&mut unwinder.memory);
        let starts: Vec<u64> = memory.ranges.keys().copied().collect();
        for (range, at, word) in &mutations {
            let bytes: Option<&mut Vec<u8>> = memory.ranges.get_mut(range.get(&starts));
            mutate(bytes.map_or(&mut [], Vec::as_mut_slice), &[(*at, *word)]);
        }
        unwinder.memory = memory;
        for (recorded, bytes) in &fixture.stacks {
            let stack = unwinder.unwind(modules, &recorded.capture(bytes));
            prop_assert!(stack.frames.len() <= MAX_FRAMES + 1);
        }
    }
}

/// Stacks that wait to be walked when the process ends still get the names that were known before.
#[test]
fn known_before_the_end() {
    for fixture in fixtures() {
        let (modules, mut unwinder) = fixture.replay();
        for round in 0..2 {
            for (recorded, bytes) in &fixture.stacks {
                let stack = unwinder.unwind(modules, &recorded.capture(bytes));
                assert_eq!(
                    describe(&stack, unwinder.methods(), modules),
                    recorded.frames,
                    "{round}"
                );
            }
            unwinder.memory = RecordedMemory::default();
        }
    }
}

/// Code that was replaced is not taken for what was there before.
#[test]
fn replaced_code() {
    let mut checked = 0;
    for fixture in fixtures() {
        let (modules, mut unwinder) = fixture.replay();
        let (recorded, bytes) = &fixture.stacks[0];
        unwinder.unwind(modules, &recorded.capture(bytes));
        // The first Java frame's code: its return address lies in the block of its blob.
        let java = recorded
            .frames
            .iter()
            .position(|frame| frame.starts_with("Native "))
            .unwrap();
        let first_compiled = |unwinder: &Unwinder<RecordedMemory>| match &unwinder.jvm {
            Some(Ok(hotspot)) => hotspot.first_compiled(),
            _ => None,
        };
        // Of the cold JVM all is interpreted but wrappers.
        let Some((blob, id)) = first_compiled(&unwinder) else {
            continue;
        };
        checked += 1;
        let offset = fixture.layout.nmethod.compile_id;
        unwinder.memory.put(blob + offset, &(id + 1).to_le_bytes());
        let captures = [recorded.capture(bytes), recorded.capture(bytes)];
        for stack in unwinder.unwind_all(modules, &captures) {
            assert_eq!(
                describe(&stack, unwinder.methods(), modules)[..java],
                recorded.frames[..java]
            );
        }
        assert_eq!(first_compiled(&unwinder), Some((blob, id + 1)));
        unwinder.memory.put(blob + offset, &(id + 2).to_le_bytes());
        unwinder.unwind(modules, &recorded.capture(bytes));
        assert_eq!(first_compiled(&unwinder), Some((blob, id + 2)));
    }
    assert!(checked > 0);
}

/// Code that was freed between the copy of a stack and its walk is still found in its block, and where its calls are
/// gone, too, the walk ends there with a reason.
#[test]
fn freed_code() {
    let mut checked = 0;
    for fixture in fixtures() {
        let is_own = |(stack, _): &&(RecordedStack, _)| !stack.way.ends_with("VirtualThread");
        let (recorded, bytes) = fixture.stacks.iter().rfind(is_own).unwrap();
        let (modules, mut unwinder) = fixture.replay();
        unwinder.unwind(modules, &recorded.capture(bytes));
        let Some(Ok(hotspot)) = &unwinder.jvm else {
            continue;
        };
        let Some((blob, _)) = hotspot.first_compiled() else {
            continue;
        };
        let cache = &fixture.layout.code_cache;
        let used = blob - cache.block_size + cache.block_used;
        let (_, mut later) = fixture.replay();
        later.memory.put(used, &[0]);
        let stack = later.unwind(modules, &recorded.capture(bytes));
        assert_eq!(describe(&stack, later.methods(), modules), recorded.frames);
        let (_, mut reused) = fixture.replay();
        reused.memory.put(used, &[0; 160]);
        let stack = reused.unwind(modules, &recorded.capture(bytes));
        // What was looked at may be a word that an earlier call has left, and no frame.
        if describe(&stack, reused.methods(), modules) == recorded.frames {
            continue;
        }
        checked += 1;
        assert_eq!(stack.end, StackEnd::BadCodeBlob);
        assert!(matches!(stack.frames.last(), Some(Frame::Unknown { .. })));
    }
    assert!(checked > 0);
}

/// Code that was replaced by other code is unknown in a stack that may be of either, and the stack goes on behind it with
/// the frames that were there.
#[test]
fn callers_of_replaced_code() {
    let mut checked = 0;
    for fixture in fixtures() {
        let (modules, mut unwinder) = fixture.replay();
        let (recorded, bytes) = fixture.stacks.first().unwrap();
        unwinder.unwind(modules, &recorded.capture(bytes));
        let taken = Instant::now();
        let Some(Ok(hotspot)) = &unwinder.jvm else {
            continue;
        };
        let Some((blob, id)) = hotspot.first_compiled() else {
            continue;
        };
        let at = blob + fixture.layout.nmethod.compile_id;
        unwinder.memory.put(at, &(id + 1).to_le_bytes());
        // Longer than anything is believed that has no proof.
        std::thread::sleep(Duration::from_millis(120));
        let capture = StackCapture {
            taken,
            ..recorded.capture(bytes)
        };
        let stack = unwinder.unwind(modules, &capture);
        let reason = UnknownReason::Replaced;
        let is_replaced = |frame: &Frame| matches!(frame, Frame::Unknown { reason: found, .. } if *found == reason);
        let Some(last) = stack.frames.iter().rposition(is_replaced) else {
            continue;
        };
        let frames = describe(&stack, unwinder.methods(), modules);
        let behind = &frames[last + 1..stack.frames.len()];
        if stack.end == StackEnd::Root {
            checked += 1;
            assert!(!behind.is_empty());
            assert!(
                recorded.frames.ends_with(&frames[last + 1..]),
                "{frames:#?}"
            );
        } else {
            assert_eq!((stack.end, behind.len()), (StackEnd::BadCodeBlob, 0));
        }
    }
    assert!(checked > 0);
}

/// A code blob without a name is no code blob: a frame is never shown as nothing.
#[test]
fn nameless_code() {
    let fixture = &fixtures()[0];
    let (recorded, bytes) = &fixture.stacks[0];
    let (modules, mut unwinder) = fixture.replay();
    unwinder.unwind(modules, &recorded.capture(bytes));
    let Some(Ok(hotspot)) = &unwinder.jvm else {
        panic!("the fixture has no JVM")
    };
    let (_, mut nameless) = fixture.replay();
    for name in hotspot.blob_names() {
        nameless.memory.put(name, &[0]);
    }
    let stack = nameless.unwind(modules, &recorded.capture(bytes));
    assert_eq!(stack.end, StackEnd::BadCodeBlob);
    let reason = UnknownReason::BadMetadata;
    assert!(
        matches!(stack.frames.last(), Some(Frame::Unknown { reason: found, .. }) if *found == reason)
    );
}

/// With all of the JVM's memory gone, as after its end, the native frames remain and the rest has its reason.
#[test]
fn memory_gone() {
    for fixture in fixtures() {
        let (modules, mut unwinder) = fixture.replay();
        unwinder.memory = RecordedMemory::default();
        for (recorded, bytes) in &fixture.stacks {
            let stack = unwinder.unwind(modules, &recorded.capture(bytes));
            assert_eq!(stack.end, StackEnd::BadCodeBlob);
            let is_native = |frame: &&String| frame.starts_with("native ");
            let native = recorded.frames.iter().take_while(is_native).count();
            assert_eq!(stack.frames.len(), native + 1, "{stack:?}");
        }
    }
}
