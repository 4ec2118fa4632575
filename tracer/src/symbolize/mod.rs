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

use std::sync::Arc;

use crate::capture::{self, FrameKind};
use crate::fast_map::FastMap;
use crate::report::clean;
use crate::stack::{self, JavaKind, Marker, MethodId, MethodTable, Stack, UnknownReason};
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
    pub frames: Vec<Arc<capture::Frame>>,
    /// Frames with a name.
    pub symbolized: u64,
    /// Frames of the target; markers are none.
    pub total: u64,
}

/// Names the stacks of one snapshot. A frame that many stacks have in common is named once, and shared.
#[derive(Debug)]
pub struct Namer<'a> {
    sources: Sources<'a>,
    native: &'a mut NativeNames,
    known: FastMap<stack::Frame, Box<[Arc<capture::Frame>]>>,
}

impl<'a> Namer<'a> {
    pub fn new(sources: Sources<'a>, native: &'a mut NativeNames) -> Self {
        Namer {
            sources,
            native,
            known: FastMap::default(),
        }
    }

    /// Looks up the native frames of many stacks, one batch per file.
    pub fn resolve<'s>(&mut self, stacks: impl IntoIterator<Item = &'s Stack>) {
        self.native.resolve(stacks, self.sources.modules);
    }

    /// Names a stack, leaf first. Native functions that were inlined get frames of their own.
    pub fn name(&mut self, stack: &Stack) -> NamedStack {
        self.resolve([stack]);
        let mut named = NamedStack::default();
        for frame in &stack.frames {
            if !self.known.contains_key(frame) {
                let frames = frames(frame, &self.sources, self.native);
                let frames = frames.into_iter().map(Arc::new).collect();
                self.known.insert(frame.clone(), frames);
            }
            let added = &*self.known[frame];
            named.frames.extend(added.iter().cloned());
            if !matches!(frame, stack::Frame::Marker(_)) {
                named.total += added.len() as u64;
                named.symbolized += added
                    .iter()
                    .filter(|frame| frame.kind != FrameKind::Unknown)
                    .count() as u64;
            }
        }
        named.frames.shrink_to_fit();
        named
    }
}

/// What one frame of a walk stands for.
fn frames(
    frame: &stack::Frame,
    sources: &Sources<'_>,
    native: &NativeNames,
) -> Vec<capture::Frame> {
    match frame {
        stack::Frame::Native { module, offset } => native.frames(*module, *offset, sources.modules),
        stack::Frame::Java { kind, method, line } => {
            vec![java_frame(*kind, *method, *line, sources)]
        }
        stack::Frame::Stub { name } => vec![capture::Frame {
            kind: FrameKind::Stub,
            reason: None,
            ..unknown(&clean::name(name), "")
        }],
        stack::Frame::Unknown { address, reason } => {
            vec![unknown_code(*address, *reason, sources.perf_map)]
        }
        stack::Frame::Marker(marker) => vec![marker_frame(*marker)],
    }
}

fn java_frame(
    kind: JavaKind,
    method: MethodId,
    line: u32,
    sources: &Sources<'_>,
) -> capture::Frame {
    let Some(name) = sources.method_names.get(method) else {
        return unknown("[unknown Java method]", "not in the method table");
    };
    let source = sources.methods.methods.get(method.0 as usize);
    capture::Frame {
        name: name.to_owned(),
        kind: java_kind(kind),
        module: None,
        file: source
            .and_then(|method| method.source_file.as_deref())
            .map(|file| clean::name(file).into_owned()),
        line: (line != 0).then_some(line),
        reason: None,
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
