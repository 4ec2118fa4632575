//! What the stacks are made of.

use std::collections::HashSet;

use offheap::events::Event;
use offheap::stack::{Frame, JavaKind, Stack, StackEnd};

use super::captures::Captures;
use crate::stats::Series;

const KINDS: [&str; 7] = [
    "native",
    "interpreted",
    "C1",
    "C2",
    "inlined",
    "Java native",
    "stub",
];

fn kind(frame: &Frame) -> Option<&'static str> {
    Some(match frame {
        Frame::Native { .. } => "native",
        Frame::Java { kind, .. } => match kind {
            JavaKind::Interpreted => "interpreted",
            JavaKind::C1 => "C1",
            JavaKind::C2 => "C2",
            JavaKind::Inlined => "inlined",
            JavaKind::Native => "Java native",
        },
        Frame::Stub { .. } => "stub",
        Frame::Unknown { .. } | Frame::Marker(_) => return None,
    })
}

pub fn print(walked: &[(Event, Stack)], captures: &Captures) {
    let stacks = || walked.iter().map(|(_, stack)| stack);
    let frames = Series(stacks().map(|stack| stack.frames.len() as f64).collect()).summary();
    let kib = |record: &bytes::Bytes| record.len() as f64 / 1024.0;
    let kib = Series(captures.records.iter().map(kib).collect()).summary();
    let complete = stacks().filter(|stack| stack.end == StackEnd::Root);
    println!(
        "\n{} stacks, {} of them distinct, of {} frames in records of {} KiB; {} complete. Frames of each:",
        walked.len(),
        stacks().collect::<HashSet<_>>().len(),
        frames.range(0),
        kib.range(0),
        complete.count(),
    );
    for name in KINDS {
        let all = stacks().flat_map(|stack| &stack.frames);
        let count = all.filter(|frame| kind(frame) == Some(name)).count();
        println!("* {name}: {:.1}", count as f64 / walked.len() as f64);
    }
}
