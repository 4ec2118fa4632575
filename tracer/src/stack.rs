//! An unwound stack, before native code has names.
//!
//! Java frames are named while the stack is taken (recompiled or unloaded code keeps its name); a native frame keeps
//! the file and offset that it came from and is named when a report is made.

use std::sync::Arc;

/// Index of a mapped ELF file in the target's [`ModuleTable`](crate::target::modules::ModuleTable).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub u32);

/// Index of a Java method in the [`MethodTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodId(pub u32);

/// How the JVM was running a Java method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JavaKind {
    Interpreted,
    C1,
    C2,
    /// Inlined into the compiled frame that follows it towards the root.
    Inlined,
    /// A native method: its interpreter entry or its compiled wrapper.
    Native,
}

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// Code of a mapped file. `offset` is the file offset of the look-up address: return addresses are already
    /// lowered by one, so that the call instruction is found and not its successor.
    Native { module: ModuleId, offset: u64 },
    /// Java code; `line` is 0 where the class has no line table.
    Java {
        kind: JavaKind,
        method: MethodId,
        line: u32,
    },
    /// Code that the JVM generated for itself, by the name of its code blob.
    Stub { name: Arc<str> },
    /// An address that nothing is known about, and why.
    Unknown { address: u64, reason: UnknownReason },
    /// Not a frame of the target: it marks a place where frames are known to be missing.
    Marker(Marker),
}

/// Why an address has no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownReason {
    /// Executable memory without a file: code of a JIT compiler that is not HotSpot's.
    AnonymousCode,
    /// The address is in no executable mapping.
    NotMapped,
    /// In the code cache, but in no live code blob.
    NoCodeBlob,
    /// The JVM has put other code there, perhaps since the stack was taken.
    Replaced,
    /// The JVM's metadata for this code could not be read or made no sense.
    BadMetadata,
}

/// A place where frames are known to be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Marker {
    /// The frames of a virtual thread that are parked in the heap.
    ParkedVirtualThread,
    /// The walk went on at the thread's last Java frame; native frames between are missing.
    ResumedAtAnchor,
    /// The copied bytes ended here.
    Truncated,
    /// The event that carried the stack was lost.
    StackLost,
    /// Stands for stacks that had to make room for others.
    NotKept,
}

/// Where and why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StackEnd {
    /// The thread's first frame.
    Root,
    /// The copied part of the stack was used up.
    Truncated,
    /// A native frame without usable unwind information.
    NoUnwindInfo,
    /// A code-cache address without a valid code blob.
    BadCodeBlob,
    /// A return address that a return probe has replaced, and that was not recorded.
    ReturnProbe,
    /// The next frame would not have been nearer to the root.
    NoProgress,
    /// The next frame lies in a page of the stack that was not in memory.
    PageMissing,
    /// The bound on frames was reached.
    FrameLimit,
    /// Java code that was running, at a page fault: between two calls nothing describes its frame.
    InJava,
    /// The event that carried the stack was lost.
    Lost,
    /// The stack had to make room for others.
    NotKept,
}

/// [`StackEnd::InJava`] in reports.
pub const IN_JAVA: &str = "in-java-code";

impl StackEnd {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            StackEnd::Root => "root",
            StackEnd::Truncated => "truncated",
            StackEnd::NoUnwindInfo => "no-unwind-info",
            StackEnd::BadCodeBlob => "bad-code-blob",
            StackEnd::ReturnProbe => "return-probe",
            StackEnd::NoProgress => "no-progress",
            StackEnd::PageMissing => "page-missing",
            StackEnd::FrameLimit => "frame-limit",
            StackEnd::InJava => IN_JAVA,
            StackEnd::Lost => "lost",
            StackEnd::NotKept => "not-kept",
        }
    }
}

/// Frames, leaf first, and why there are no more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    pub frames: Vec<Frame>,
    pub end: StackEnd,
}

/// A Java method by its names, as the JVM holds them (`java.util.zip.Deflater`, `init`, `(IIZ)J`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JavaMethod {
    /// Dots between packages; suffixes of hidden classes masked so that stacks aggregate.
    pub class: String,
    pub name: String,
    pub signature: String,
    /// `Deflater.java`, where the class says so.
    pub source_file: Option<String>,
}

/// The Java methods seen in stacks; [`MethodId`] is the index.
#[derive(Clone, Debug, Default)]
pub struct MethodTable {
    pub methods: Vec<JavaMethod>,
}
