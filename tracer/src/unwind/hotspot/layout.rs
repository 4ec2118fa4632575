//! Where this JVM keeps what a walk needs: offsets, found by the names of fields and never by the JVM's version.
//!
//! Vendors back-port layouts (Dragonwell 11 and 21 carry that of JDK 23 and 25), so a version says little. Three things
//! have no field and go by version all the same: the interpreter's frame (JDK 8), the encoding of UNSIGNED5 (20) and
//! the name of the JVM.

use crate::unwind::memory::Memory;

mod detect;

/// No structure of the JVM that is read here is larger; all offsets lie below.
pub const MAX_STRUCT: u64 = 4096;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VmLayout {
    /// The feature release: 8, 11, 17 …
    pub release: u32,
    pub code_cache: CodeCacheLayout,
    pub blob: BlobLayout,
    pub nmethod: NmethodLayout,
    pub scopes: ScopesLayout,
    pub method: MethodLayout,
    /// None where threads can't be found: then a walk can't go on at a thread's last Java frame.
    pub threads: Option<ThreadsLayout>,
    /// The return address of calls from the JVM into Java.
    pub call_stub_return: Option<u64>,
    /// Where the call stub's frame keeps its `JavaCallWrapper*`, in words from the frame pointer.
    pub call_wrapper_words: i32,
    /// `JavaCallWrapper::_anchor`.
    pub call_wrapper_anchor: Option<u64>,
    /// None before JDK 21, and where the JVM does not say.
    pub continuation: Option<ContinuationLayout>,
}

/// Where a virtual thread's frames meet those of its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ContinuationLayout {
    /// Where the return address in the frame that enters virtual threads is stored; 0 until the first one runs.
    pub return_pc: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CodeCacheLayout {
    pub heaps: Heaps,
    pub memory: u64,
    pub segmap: u64,
    pub log2_segment_size: u64,
    pub space_low: u64,
    pub space_low_boundary: u64,
    pub space_high_boundary: u64,
    pub block_size: u64,
    pub block_used: u64,
}

/// Where the list of code heaps begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Heaps {
    /// JDK 8: address of the one `CodeHeap*`.
    One(u64),
    /// Since 9: address of the `GrowableArray<CodeHeap*>*`, and the array's layout.
    Array { address: u64, len: u64, data: u64 },
}

impl Heaps {
    /// Whether the JVM's own data is still there: it is as long as the process is.
    pub fn is_readable(&self, memory: &impl Memory) -> bool {
        let (Heaps::One(address) | Heaps::Array { address, .. }) = *self;
        memory.read_u64(address).is_ok()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BlobLayout {
    pub name: u64,
    pub size: u64,
    /// In words.
    pub frame_size: u64,
    pub code: CodeRange,
    /// `CodeBlob` itself: what every blob has.
    pub header_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CodeRange {
    /// Up to JDK 22: two pointers.
    Pointers { begin: u64, end: u64 },
    /// JDK 8, and again since 23: offsets from the blob, 32 bits.
    Offsets { code: u64, data: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NmethodLayout {
    pub method: u64,
    pub compile_id: u64,
    pub comp_level: u64,
    /// Where a deoptimised frame keeps its real return address, in bytes from its stack pointer.
    pub orig_pc_offset: u64,
    pub deopt_handlers: Vec<DeoptHandler>,
    /// An nmethod as far as it is read.
    pub header_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DeoptHandler {
    Pointer(u64),
    /// From the blob.
    Offset(u64),
}

/// Where debug information of compiled code is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScopesLayout {
    pub pcs: ScopesPlace,
    pub metadata: MetadataPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ScopesPlace {
    /// Up to JDK 22, in the blob: PcDescs from one offset to another, scopes by pointer or by offset (8).
    Blob {
        pcs: u64,
        pcs_end: u64,
        data_pointer: Option<u64>,
        data_offset: Option<u64>,
    },
    /// Since 23, in a malloc'ed block.
    Immutable { base: u64, pcs: u64, data: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MetadataPlace {
    /// Up to 22: offset from the blob, 32 bits.
    Blob(u64),
    /// 23 and 24: 16-bit offset from the blob's data, whose own offset has 32 bits.
    Data { data: u64, metadata: u64 },
    /// Since 25: behind the relocations in a malloc'ed block.
    Mutable { base: u64, relocation_size: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MethodLayout {
    pub const_method: u64,
    pub access_flags: u64,
    pub constants: u64,
    pub flags: u64,
    pub has_line_table: u32,
    pub code_size: u64,
    pub name_index: u64,
    pub signature_index: u64,
    /// Bytecodes begin behind it.
    pub const_method_size: u64,
    /// The pool's slots begin behind it.
    pub constant_pool_size: u64,
    pub pool_holder: u64,
    pub source_file: SourceFile,
    pub klass_name: u64,
    /// The 16-bit length of a symbol.
    pub symbol_length: u64,
    pub symbol_body: u64,
}

/// Where the index of a class's source file name is (16 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SourceFile {
    /// Since 15.
    ConstantPool(u64),
    InstanceKlass(u64),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ThreadsLayout {
    pub list: ThreadList,
    pub os_thread: u64,
    pub thread_id: u64,
    pub anchor: u64,
    pub anchor_sp: u64,
    pub anchor_pc: u64,
    pub anchor_fp: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ThreadList {
    /// Since 10: address of the `ThreadsList*`, and its layout.
    Array {
        address: u64,
        len: u64,
        threads: u64,
    },
    /// Address of the first `JavaThread*`, and where the next one is.
    Linked { address: u64, next: u64 },
}

#[cfg(test)]
mod tests;
