//! Finding the layout in the JVM's own description.

use crate::unwind::memory::Memory;

use super::super::UnsupportedJvm;
use super::super::vm_structs::VmStructs;
use super::*;

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
            call_stub_return: find.call_stub(memory)?,
            call_wrapper_words: structs
                .constant("frame::entry_frame_call_wrapper_offset")
                .unwrap_or(0),
            call_wrapper_anchor: find.offset(&[("JavaCallWrapper", "_anchor")]).ok(),
            continuation: find.continuation(),
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
        let flag = [
            "ConstMethod::_has_linenumber_table",
            "ConstMethodFlags::_misc_has_linenumber_table",
        ];
        let flag = flag.into_iter().find_map(|name| self.0.constant(name));
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
            source_file: self.source_file(),
            klass_name: self.offset(&[("Klass", "_name")])?,
            symbol_length: self.symbol_length()?,
            symbol_body: self.offset(&[("Symbol", "_body")])?,
        })
    }

    fn source_file(&self) -> SourceFile {
        let index = "_source_file_name_index";
        match (
            self.offset(&[("ConstantPool", index)]),
            self.offset(&[("InstanceKlass", index)]),
        ) {
            (Ok(offset), _) => SourceFile::ConstantPool(offset),
            (Err(_), Ok(offset)) => SourceFile::InstanceKlass(offset),
            _ => SourceFile::Unknown,
        }
    }

    fn symbol_length(&self) -> Result<u64, UnsupportedJvm> {
        // Some builds of 12 to 16 keep length and reference count in one word, the length in its upper half.
        let both = || self.offset(&[("Symbol", "_length_and_refcount")]);
        self.offset(&[("Symbol", "_length")])
            .or_else(|missing| both().map(|at| at + 2).map_err(|_| missing))
    }

    fn call_stub(&self, memory: &impl Memory) -> Result<Option<u64>, UnsupportedJvm> {
        let Ok(address) = self.address(&[("StubRoutines", "_call_stub_return_address")]) else {
            return Ok(None);
        };
        match memory.read_u64(address) {
            // Not generated yet.
            Ok(0) | Err(_) => Err(UnsupportedJvm::Starting),
            Ok(return_address) => Ok(Some(return_address)),
        }
    }

    fn continuation(&self) -> Option<ContinuationLayout> {
        let return_pc = self.address(&[("ContinuationEntry", "_return_pc")]).ok()?;
        Some(ContinuationLayout { return_pc })
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
