//! Where this JVM keeps what a walk needs: offsets, found by the names of fields and never by the JVM's version.
//!
//! Vendors back-port layouts (Dragonwell 11 and 21 carry that of JDK 23 and 25), so a version says little. Three things
//! have no field and go by version all the same: the interpreter's frame (JDK 8), the encoding of UNSIGNED5 (20) and
//! the name of the JVM.

use crate::unwind::memory::Memory;

use super::UnsupportedJvm;
use super::vm_structs::VmStructs;

/// No structure of the JVM that is read here is larger; all offsets lie below.
pub const MAX_STRUCT: u64 = 4096;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
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
    /// The return address of calls from the JVM into Java: [`None`] before the stub is generated.
    pub call_stub_return: Option<u64>,
    /// Where the call stub's frame keeps its `JavaCallWrapper*`, in words from the frame pointer.
    pub call_wrapper_words: i32,
    /// `JavaCallWrapper::_anchor`.
    pub call_wrapper_anchor: Option<u64>,
    /// None before JDK 21, and where the JVM does not say.
    pub continuation: Option<ContinuationLayout>,
}

/// Where a virtual thread's frames meet those of its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct ContinuationLayout {
    /// `JavaThread::_cont_entry`: the stack pointer of the frame that entered the virtual thread.
    pub entry: u64,
    /// The return address in that frame.
    pub return_pc: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum Heaps {
    /// JDK 8: address of the one `CodeHeap*`.
    One(u64),
    /// Since 9: address of the `GrowableArray<CodeHeap*>*`, and the array's layout.
    Array { address: u64, len: u64, data: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct BlobLayout {
    pub name: u64,
    pub size: u64,
    /// In words.
    pub frame_size: u64,
    pub code: CodeRange,
    /// `CodeBlob` itself: what every blob has.
    pub header_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum CodeRange {
    /// Up to JDK 22: two pointers.
    Pointers { begin: u64, end: u64 },
    /// JDK 8, and again since 23: offsets from the blob, 32 bits.
    Offsets { code: u64, data: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum DeoptHandler {
    Pointer(u64),
    /// From the blob.
    Offset(u64),
}

/// Where debug information of compiled code is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct ScopesLayout {
    pub pcs: ScopesPlace,
    pub metadata: MetadataPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum MetadataPlace {
    /// Up to 22: offset from the blob, 32 bits.
    Blob(u64),
    /// 23 and 24: 16-bit offset from the blob's data, whose own offset has 32 bits.
    Data { data: u64, metadata: u64 },
    /// Since 25: behind the relocations in a malloc'ed block.
    Mutable { base: u64, relocation_size: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum SourceFile {
    /// Since 15.
    ConstantPool(u64),
    InstanceKlass(u64),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct ThreadsLayout {
    pub list: ThreadList,
    pub os_thread: u64,
    pub thread_id: u64,
    pub anchor: u64,
    pub anchor_sp: u64,
    pub anchor_pc: u64,
    pub anchor_fp: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
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

impl VmLayout {
    /// # Errors
    /// `Missing` names the first field that this JVM does not describe.
    pub fn detect(structs: &VmStructs, memory: &impl Memory) -> Result<Self, UnsupportedJvm> {
        let find = Find(structs);
        let code_cache = find.code_cache()?;
        Ok(VmLayout {
            release: find.release(memory, &code_cache)?,
            blob: find.blob()?,
            nmethod: find.nmethod()?,
            scopes: find.scopes()?,
            method: find.method()?,
            threads: find.threads().ok(),
            call_stub_return: find
                .address(&[("StubRoutines", "_call_stub_return_address")])
                .ok()
                .and_then(|address| memory.read_u64(address).ok())
                .filter(|&address| address != 0),
            call_wrapper_words: structs
                .constant("frame::entry_frame_call_wrapper_offset")
                .unwrap_or(0),
            call_wrapper_anchor: find.offset(&[("JavaCallWrapper", "_anchor")]).ok(),
            continuation: find.continuation(memory),
            code_cache,
        })
    }
}

type Names<'a> = &'a [(&'a str, &'a str)];

struct Find<'a>(&'a VmStructs);

impl Find<'_> {
    fn offset(&self, names: Names<'_>) -> Result<u64, UnsupportedJvm> {
        let offset = self.0.field(names).map(|field| field.offset);
        offset
            .filter(|&offset| offset < MAX_STRUCT)
            .ok_or_else(|| missing(names))
    }

    fn address(&self, names: Names<'_>) -> Result<u64, UnsupportedJvm> {
        self.0
            .field(names)
            .map(|field| field.address)
            .filter(|&address| address != 0)
            .ok_or_else(|| missing(names))
    }

    fn size(&self, name: &str) -> Result<u64, UnsupportedJvm> {
        let size = self
            .0
            .size(name)
            .filter(|&size| size > 0 && size < MAX_STRUCT);
        size.ok_or_else(|| UnsupportedJvm::Missing(format!("the size of {name}")))
    }

    fn release(
        &self,
        memory: &impl Memory,
        code_cache: &CodeCacheLayout,
    ) -> Result<u32, UnsupportedJvm> {
        // JDK 8 reports the version of HotSpot, 25, and is known by its single code heap.
        if matches!(code_cache.heaps, Heaps::One(_)) {
            return Ok(8);
        }
        let address = self.address(&[("Abstract_VM_Version", "_vm_major_version")])?;
        match memory.read_u32(address) {
            Ok(0) | Err(_) => Err(UnsupportedJvm::Starting),
            Ok(release) => Ok(release),
        }
    }

    fn code_cache(&self) -> Result<CodeCacheLayout, UnsupportedJvm> {
        let heaps = match self.address(&[("CodeCache", "_heaps")]) {
            Ok(address) => Heaps::Array {
                address,
                len: self.offset(&[
                    ("GrowableArrayBase", "_len"),
                    ("GenericGrowableArray", "_len"),
                ])?,
                data: self.offset(&[("GrowableArray<int>", "_data")])?,
            },
            Err(missing) => Heaps::One(
                self.address(&[("CodeCache", "_heap")])
                    .map_err(|_| missing)?,
            ),
        };
        Ok(CodeCacheLayout {
            heaps,
            memory: self.offset(&[("CodeHeap", "_memory")])?,
            segmap: self.offset(&[("CodeHeap", "_segmap")])?,
            log2_segment_size: self.offset(&[("CodeHeap", "_log2_segment_size")])?,
            space_low: self.offset(&[("VirtualSpace", "_low")])?,
            space_low_boundary: self.offset(&[("VirtualSpace", "_low_boundary")])?,
            space_high_boundary: self.offset(&[("VirtualSpace", "_high_boundary")])?,
            block_size: self.size("HeapBlock")?,
            block_used: self.offset(&[("HeapBlock::Header", "_used")])?,
        })
    }

    fn blob(&self) -> Result<BlobLayout, UnsupportedJvm> {
        let code = match (
            self.offset(&[("CodeBlob", "_code_begin")]),
            self.offset(&[("CodeBlob", "_code_end")]),
        ) {
            (Ok(begin), Ok(end)) => CodeRange::Pointers { begin, end },
            _ => CodeRange::Offsets {
                code: self.offset(&[("CodeBlob", "_code_offset")])?,
                data: self.offset(&[("CodeBlob", "_data_offset")])?,
            },
        };
        Ok(BlobLayout {
            name: self.offset(&[("CodeBlob", "_name")])?,
            size: self.offset(&[("CodeBlob", "_size")])?,
            frame_size: self.offset(&[("CodeBlob", "_frame_size")])?,
            code,
            header_len: self.size("CodeBlob")? as usize,
        })
    }

    fn nmethod(&self) -> Result<NmethodLayout, UnsupportedJvm> {
        let pointers = ["_deopt_handler_begin", "_deopt_mh_handler_begin"].into_iter();
        let pointers = pointers
            .filter_map(|name| {
                self.offset(&[("CompiledMethod", name), ("nmethod", name)])
                    .ok()
            })
            .map(DeoptHandler::Pointer);
        // JDK 8's `_deoptimize_offset` is today's `_deopt_handler_offset`; 26 calls it `_deopt_handler_entry_offset`.
        let names = [
            "_deopt_handler_entry_offset",
            "_deopt_handler_offset",
            "_deopt_mh_handler_offset",
            "_deoptimize_offset",
        ];
        let offsets = names
            .into_iter()
            .filter_map(|name| self.offset(&[("nmethod", name)]).ok())
            .map(DeoptHandler::Offset);
        Ok(NmethodLayout {
            method: self.offset(&[("nmethod", "_method"), ("CompiledMethod", "_method")])?,
            compile_id: self.offset(&[("nmethod", "_compile_id")])?,
            comp_level: self.offset(&[("nmethod", "_comp_level")])?,
            orig_pc_offset: self.offset(&[("nmethod", "_orig_pc_offset")])?,
            deopt_handlers: pointers.chain(offsets).collect(),
            header_len: self.size("nmethod")? as usize,
        })
    }

    fn scopes(&self) -> Result<ScopesLayout, UnsupportedJvm> {
        let pcs = self.offset(&[("nmethod", "_scopes_pcs_offset")])?;
        let pcs = match self.offset(&[("nmethod", "_immutable_data")]) {
            Ok(base) => ScopesPlace::Immutable {
                base,
                pcs,
                data: self.offset(&[("nmethod", "_scopes_data_offset")])?,
            },
            Err(_) => {
                let data_pointer = self.offset(&[
                    ("CompiledMethod", "_scopes_data_begin"),
                    ("nmethod", "_scopes_data_begin"),
                ]);
                let data_offset = self.offset(&[("nmethod", "_scopes_data_offset")]);
                if let (Err(missing), Err(_)) = (&data_pointer, &data_offset) {
                    return Err(missing.clone());
                }
                let pcs_end = self.offset(&[("nmethod", "_dependencies_offset")])?;
                ScopesPlace::Blob {
                    pcs,
                    pcs_end,
                    data_pointer: data_pointer.ok(),
                    data_offset: data_offset.ok(),
                }
            }
        };
        let metadata = || self.offset(&[("nmethod", "_metadata_offset")]);
        let metadata = match (self.offset(&[("CodeBlob", "_mutable_data")]), pcs) {
            (Ok(base), _) => MetadataPlace::Mutable {
                base,
                relocation_size: self.offset(&[("CodeBlob", "_relocation_size")])?,
            },
            (Err(_), ScopesPlace::Immutable { .. }) => MetadataPlace::Data {
                data: self.offset(&[("CodeBlob", "_data_offset")])?,
                metadata: metadata()?,
            },
            (Err(_), ScopesPlace::Blob { .. }) => MetadataPlace::Blob(metadata()?),
        };
        Ok(ScopesLayout { pcs, metadata })
    }

    fn method(&self) -> Result<MethodLayout, UnsupportedJvm> {
        let index = "_source_file_name_index";
        let source_file = match (
            self.offset(&[("ConstantPool", index)]),
            self.offset(&[("InstanceKlass", index)]),
        ) {
            (Ok(offset), _) => SourceFile::ConstantPool(offset),
            (Err(_), Ok(offset)) => SourceFile::InstanceKlass(offset),
            _ => SourceFile::Unknown,
        };
        let flag = [
            "ConstMethod::_has_linenumber_table",
            "ConstMethodFlags::_misc_has_linenumber_table",
        ];
        let flag = flag.into_iter().find_map(|name| self.0.constant(name));
        // Some builds of 12 to 16 keep length and reference count in one word, the length in its upper half.
        let symbol_length = match self.offset(&[("Symbol", "_length")]) {
            Ok(offset) => offset,
            Err(missing) => {
                self.offset(&[("Symbol", "_length_and_refcount")])
                    .map_err(|_| missing)?
                    + 2
            }
        };
        Ok(MethodLayout {
            const_method: self.offset(&[("Method", "_constMethod")])?,
            access_flags: self.offset(&[
                ("Method", "_access_flags"),
                ("Method", "_access_flags._flags"),
            ])?,
            constants: self.offset(&[("ConstMethod", "_constants")])?,
            flags: self.offset(&[("ConstMethod", "_flags._flags"), ("ConstMethod", "_flags")])?,
            has_line_table: flag.map_or(1, |flag| flag as u32),
            code_size: self.offset(&[("ConstMethod", "_code_size")])?,
            name_index: self.offset(&[("ConstMethod", "_name_index")])?,
            signature_index: self.offset(&[("ConstMethod", "_signature_index")])?,
            const_method_size: self.size("ConstMethod")?,
            constant_pool_size: self.size("ConstantPool")?,
            pool_holder: self.offset(&[("ConstantPool", "_pool_holder")])?,
            source_file,
            klass_name: self.offset(&[("Klass", "_name")])?,
            symbol_length,
            symbol_body: self.offset(&[("Symbol", "_body")])?,
        })
    }

    fn continuation(&self, memory: &impl Memory) -> Option<ContinuationLayout> {
        let entry = self.offset(&[("JavaThread", "_cont_entry")]).ok()?;
        let return_pc = self.address(&[("ContinuationEntry", "_return_pc")]).ok()?;
        let return_pc = memory.read_u64(return_pc).ok().filter(|&pc| pc != 0)?;
        Some(ContinuationLayout { entry, return_pc })
    }

    fn threads(&self) -> Result<ThreadsLayout, UnsupportedJvm> {
        let list = match self.address(&[("ThreadsSMRSupport", "_java_thread_list")]) {
            Ok(address) => ThreadList::Array {
                address,
                len: self.offset(&[("ThreadsList", "_length")])?,
                threads: self.offset(&[("ThreadsList", "_threads")])?,
            },
            Err(_) => ThreadList::Linked {
                address: self.address(&[("Threads", "_thread_list")])?,
                next: self.offset(&[("JavaThread", "_next")])?,
            },
        };
        Ok(ThreadsLayout {
            list,
            os_thread: self.offset(&[("JavaThread", "_osthread"), ("Thread", "_osthread")])?,
            thread_id: self.offset(&[("OSThread", "_thread_id")])?,
            anchor: self.offset(&[("JavaThread", "_anchor")])?,
            anchor_sp: self.offset(&[("JavaFrameAnchor", "_last_Java_sp")])?,
            anchor_pc: self.offset(&[("JavaFrameAnchor", "_last_Java_pc")])?,
            anchor_fp: self.offset(&[("JavaFrameAnchor", "_last_Java_fp")])?,
        })
    }
}

fn missing(names: Names<'_>) -> UnsupportedJvm {
    UnsupportedJvm::Missing(
        names
            .first()
            .map_or_else(String::new, |(class, field)| format!("{class}::{field}")),
    )
}

#[cfg(test)]
mod tests;
