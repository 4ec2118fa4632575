//! Who is to be named for a site: the first frame that belongs to the application.

use std::fmt;
use std::sync::Arc;

use crate::capture::{Frame, FrameKind, Site, SiteKind};
use crate::report::clean;

/// The frame that a verdict names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Caller {
    /// A Java method: the nearest one outside the JDK, else the nearest one at all.
    Java(String),
    /// A native function, where the stack has no Java frame.
    Native {
        name: String,
        module: Option<String>,
    },
    /// Nothing on the stack has a name; with the word for where the stack ended.
    Unknown { stack_end: String },
}

impl fmt::Display for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Java(name) | Caller::Native { name, module: None } => out.write_str(name),
            Caller::Native {
                name,
                module: Some(module),
            } => write!(out, "{name} ({module})"),
            Caller::Unknown { stack_end } => write!(out, "an unknown caller (stack: {stack_end})"),
        }
    }
}

/// Finds the frame to name.
pub fn of(site: &Site) -> Caller {
    let java = || above_binding(site).iter().filter(|frame| is_java(frame));
    if let Some(frame) = java()
        .find(|frame| !is_jdk(&frame.name))
        .or_else(|| java().next())
    {
        return Caller::Java(clean::name(&frame.name).into_owned());
    }
    let named = || above_library(site).iter().filter(|frame| is_native(frame));
    match named()
        .find(|frame| !is_plumbing(frame))
        .or_else(|| named().next_back())
    {
        Some(frame) => native(frame),
        None => Caller::Unknown {
            stack_end: clean::name(&site.stack_end).into_owned(),
        },
    }
}

/// Who is to be named, and, for objects of a pair, what they are: `RocksDB iterator: com.acme.Store.scan`.
pub fn line(site: &Site) -> String {
    match &site.pair {
        Some(pair) => format!("{}: {}", clean::name(pair), of(site)),
        None => of(site).to_string(),
    }
}

/// The frames from the caller of a JNI library's Java side on, where its native method opened an object: those in no class
/// of its package, else not of its class, else all but the native method.
fn above_binding(site: &Site) -> &[Arc<Frame>] {
    let java = site
        .frames
        .iter()
        .position(|frame| is_java(frame))
        .unwrap_or(0);
    let (native, frames) = site.frames.split_at(java);
    let is_jni = |frame: &Arc<Frame>| frame.name.starts_with("Java_");
    let [method, callers @ ..] = frames else {
        return frames;
    };
    if site.kind != SiteKind::Pair || !native.iter().any(is_jni) {
        return frames;
    }
    let class = scope(method.name.split('(').next().unwrap_or_default());
    for scope in [scope(class), class].into_iter().filter(|s| !s.is_empty()) {
        let rest = |frame: &Frame| {
            frame
                .name
                .strip_prefix(scope)
                .map(|r| r.starts_with(['.', '$']))
        };
        let inside = |frame: &&Arc<Frame>| !is_java(frame) || rest(frame) == Some(true);
        let outside = callers.get(callers.iter().take_while(inside).count()..);
        if let Some(outside) = outside.filter(|frames| frames.iter().any(|frame| is_java(frame))) {
            return outside;
        }
    }
    callers
}

/// `org.rocksdb.RocksDB` of `org.rocksdb.RocksDB.iterator`.
fn scope(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(scope, _)| scope)
}

/// The frames from the caller of a pair's library on: its own functions say what was opened, not who opened it. All but
/// the opening function where nothing is outside of the library.
fn above_library(site: &Site) -> &[Arc<Frame>] {
    let (SiteKind::Pair, [opening, callers @ ..]) = (site.kind, site.frames.as_slice()) else {
        return &site.frames;
    };
    let inside = |frame: &&Arc<Frame>| frame.module == opening.module && opening.module.is_some();
    let library = callers.iter().take_while(inside).count();
    match callers.get(library..) {
        Some(outside) if outside.iter().any(|frame| is_native(frame)) => outside,
        _ => callers,
    }
}

/// The native function through which a Java caller came to allocate, where it says more than `malloc`.
pub fn via(site: &Site) -> Option<String> {
    site.frames
        .iter()
        .take_while(|frame| !is_java(frame))
        .find(|frame| is_native(frame) && !is_plumbing(frame))
        .map(|frame| clean::name(&frame.name).into_owned())
}

/// Java methods have no module: neither compiled nor native ones.
pub fn is_java(frame: &Frame) -> bool {
    match frame.kind {
        FrameKind::C1 | FrameKind::C2 | FrameKind::Interpreted => true,
        FrameKind::Inlined | FrameKind::Native => frame.module.is_none(),
        FrameKind::Stub | FrameKind::Unknown => false,
    }
}

fn native(frame: &Frame) -> Caller {
    Caller::Native {
        name: clean::name(&frame.name).into_owned(),
        module: frame
            .module
            .as_deref()
            .map(|module| clean::name(module).into_owned()),
    }
}

fn is_native(frame: &Frame) -> bool {
    matches!(frame.kind, FrameKind::Native | FrameKind::Inlined) && frame.module.is_some()
}

fn is_jdk(name: &str) -> bool {
    ["java.", "jdk.", "sun."]
        .iter()
        .any(|package| name.starts_with(package))
}

/// Frames that every allocation passes: they say how memory was asked for, not who asked.
fn is_plumbing(frame: &Frame) -> bool {
    const LIBRARIES: [&str; 10] = [
        "libc.so",
        "libc-2",
        "libc.musl",
        "ld-linux",
        "ld-musl",
        "libz.so",
        "libstdc++",
        "libjemalloc",
        "libtcmalloc",
        "libmimalloc",
    ];
    const FUNCTIONS: [&str; 9] = [
        "operator new",
        "os::malloc",
        "os::realloc",
        "AllocateHeap",
        "ReallocateHeap",
        "Unsafe_AllocateMemory",
        "__gnu_cxx::",
        "std::",
        "Java_java_util_zip_",
    ];
    let module = frame.module.as_deref().unwrap_or_default();
    LIBRARIES.iter().any(|library| module.starts_with(library))
        || FUNCTIONS
            .iter()
            .any(|function| frame.name.starts_with(function))
        || crate::symbolize::owner::is_allocator_function(&frame.name)
}
