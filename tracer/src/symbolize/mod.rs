//! Names for stacks.
//!
//! Java frames were named while the stack was taken; here native frames get theirs, from the very files that the
//! target has mapped, and everything becomes the frames of a capture. Nothing is dropped: what has no name has a reason.

mod demangle;
pub(crate) mod dwarf;
mod image;
mod java;
mod module_names;
mod native;
pub mod owner;
pub(crate) mod perf_map;
mod sections;
mod separate;
mod symbols;

use crate::capture::{self, FrameKind};
use crate::report::clean;
use crate::stack::{self, JavaKind, Marker, MethodTable, Stack, UnknownReason};
use crate::target::modules::ModuleTable;

pub use java::MethodNames;
pub use native::{NativeNames, file_name};
pub use owner::owner;
pub use perf_map::PerfMap;

/// All that names can come from. Borrowed anew for each snapshot, since all of it grows while tracing.
#[derive(Debug)]
pub struct Sources<'a> {
    pub modules: &'a ModuleTable,
    pub methods: &'a MethodTable,
    pub method_names: &'a MethodNames,
    /// Names of code that another JIT compiler wrote down, where the target has such a file.
    pub perf_map: Option<&'a PerfMap>,
}

/// The frames of a stack, and how many of them have a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedStack {
    /// Leaf first.
    pub frames: Vec<capture::Frame>,
    /// Frames with a name.
    pub symbolized: u64,
    /// Frames of the target; markers are none.
    pub total: u64,
}

/// Names a stack, leaf first. Native functions that were inlined get frames of their own.
pub fn name_stack(stack: &Stack, sources: &Sources<'_>, native: &mut NativeNames) -> NamedStack {
    native.resolve([stack], sources.modules);
    let mut named = NamedStack {
        frames: Vec::with_capacity(stack.frames.len()),
        ..NamedStack::default()
    };
    for frame in &stack.frames {
        let before = named.frames.len();
        push_frame(frame, sources, native, &mut named.frames);
        if !matches!(frame, stack::Frame::Marker(_)) {
            let added = &named.frames[before..];
            named.total += added.len() as u64;
            named.symbolized += added
                .iter()
                .filter(|frame| frame.kind != FrameKind::Unknown)
                .count() as u64;
        }
    }
    named
}

fn push_frame(
    frame: &stack::Frame,
    sources: &Sources<'_>,
    native: &NativeNames,
    frames: &mut Vec<capture::Frame>,
) {
    match frame {
        stack::Frame::Native { module, offset } => {
            native.push_frames(*module, *offset, sources.modules, frames);
        }
        stack::Frame::Java { kind, method, line } => {
            let Some(name) = sources.method_names.get(*method) else {
                return frames.push(unknown("[unknown Java method]", "not in the method table"));
            };
            let source = sources.methods.methods.get(method.0 as usize);
            frames.push(capture::Frame {
                name: name.to_owned(),
                kind: java_kind(*kind),
                module: None,
                file: source
                    .and_then(|method| method.source_file.as_deref())
                    .map(|file| clean::name(file).into_owned()),
                line: (*line != 0).then_some(*line),
                reason: None,
            });
        }
        stack::Frame::Stub { name } => frames.push(capture::Frame {
            kind: FrameKind::Stub,
            reason: None,
            ..unknown(&clean::name(name), "")
        }),
        stack::Frame::Unknown { address, reason } => {
            frames.push(unknown_code(*address, *reason, sources.perf_map))
        }
        stack::Frame::Marker(marker) => frames.push(marker_frame(*marker)),
    }
}

fn java_kind(kind: JavaKind) -> FrameKind {
    match kind {
        JavaKind::Interpreted => FrameKind::Interpreted,
        JavaKind::C1 => FrameKind::C1,
        JavaKind::C2 => FrameKind::C2,
        JavaKind::Inlined => FrameKind::Inlined,
        JavaKind::Native => FrameKind::Native,
    }
}

fn unknown_code(address: u64, reason: UnknownReason, perf_map: Option<&PerfMap>) -> capture::Frame {
    if reason == UnknownReason::AnonymousCode
        && let Some((map, name)) = perf_map.and_then(|map| Some((map, map.name(address)?)))
    {
        return capture::Frame {
            kind: FrameKind::Native,
            module: Some(map.file_name().to_owned()),
            reason: None,
            ..unknown(name, "")
        };
    }
    let reason = match reason {
        UnknownReason::AnonymousCode => "generated code without names",
        UnknownReason::NotMapped => "not mapped",
        UnknownReason::NoCodeBlob => "no live code blob",
        UnknownReason::Replaced => "code replaced since",
        UnknownReason::BadMetadata => "unreadable JVM metadata",
    };
    unknown(&format!("[{reason}]"), reason)
}

/// Markers whose place is the end of a stack have the stack's end as their reason, so that it is said once.
fn marker_frame(marker: Marker) -> capture::Frame {
    let (name, reason) = match marker {
        Marker::ParkedVirtualThread => (
            "[virtual thread: parked frames]",
            "parked frames are in the heap",
        ),
        Marker::ResumedAtAnchor => ("[native frames missing]", "resumed at the last Java frame"),
        Marker::Truncated => ("[truncated]", stack::StackEnd::Truncated.as_str()),
        Marker::StackLost => ("[stack lost]", stack::StackEnd::Lost.as_str()),
        Marker::NotKept => ("[stack not kept]", stack::StackEnd::NotKept.as_str()),
    };
    unknown(name, reason)
}

fn unknown(name: &str, reason: &str) -> capture::Frame {
    capture::Frame {
        name: name.to_owned(),
        kind: FrameKind::Unknown,
        module: None,
        file: None,
        line: None,
        reason: Some(reason.to_owned()),
    }
}

#[cfg(test)]
mod tests;
