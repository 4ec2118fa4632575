//! Code blobs: what kind of generated code it is, and the size of its frames.

use std::ops::Range;
use std::sync::Arc;

use crate::unwind::memory::{Memory, Piece, Unreadable};

use super::code_cache::CodeCache;
use super::layout::{CodeRange, DeoptHandler, MetadataPlace, ScopesPlace, VmLayout};

/// The largest blob, the interpreter of a debug build, has a few MiB.
const MAX_BLOB: u32 = 256 << 20;
/// Half a megabyte; frames of generated code have some hundred words.
const MAX_FRAME_WORDS: u32 = 1 << 16;
/// Names of upcall stubs carry a signature.
const MAX_NAME: usize = 256;

/// What sort of code a blob holds. Blobs are told apart by their names: the numbers of `CodeBlob::_kind` change from
/// release to release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobKind {
    /// A method compiled by C1 or C2.
    Compiled,
    /// The compiled wrapper of a native method.
    NativeWrapper,
    Interpreter,
    /// Stubs around virtual threads: the return barrier is one of them.
    Continuation,
    Other,
}

/// A code blob's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub address: u64,
    pub name_pointer: u64,
    pub name: Arc<str>,
    pub kind: BlobKind,
    pub code: Range<u64>,
    /// Bytes between the stack pointer after a call and the caller's; 0 for frames that only a frame pointer finds.
    pub frame_bytes: u64,
    /// For [`BlobKind::Compiled`] and [`BlobKind::NativeWrapper`].
    pub nmethod: Option<Nmethod>,
}

/// What is known of a compiled method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nmethod {
    /// 0 where it is not known any more.
    pub method: u64,
    /// Never given twice by one JVM.
    pub compile_id: u32,
    /// 1 to 3 for C1, 4 for C2 and its replacements.
    pub level: u8,
    pub orig_pc_offset: u32,
    /// Return addresses that stand for a deoptimised frame.
    pub deopt_handlers: Vec<u64>,
    /// PcDescs; empty where there are none.
    pub pcs: Range<u64>,
    pub scopes: u64,
    /// The array of `Method*` (and `Klass*`) that scopes refer to.
    pub metadata: u64,
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    /// Freed, or replaced by another one.
    Gone,
    /// The code cache itself can't be read.
    Unreadable,
}

impl Blob {
    /// Whether both were read of the same code, at different times: what is known of compiled code is cleared before it
    /// is freed.
    pub fn is_same(&self, other: &Blob) -> bool {
        let id = |blob: &Blob| Some(blob.nmethod.as_ref()?.compile_id);
        let key = |blob: &Blob| (blob.address, blob.name_pointer, id(blob));
        key(self) == key(other) && self.code == other.code
    }

    /// Whether this is still what is at its address. One code blob is not told from another of the same kind and name,
    /// unless it is compiled.
    pub fn life(&self, memory: &impl Memory, layout: &VmLayout, cache: &CodeCache) -> Life {
        let used = cache.used(self.address);
        let Ok(used) = used.and_then(|used| memory.read_u8(used)) else {
            return Life::Unreadable;
        };
        let len = self.header_len(layout);
        let Ok(record) = memory.read_vec(self.address, len).map(Record) else {
            return Life::Unreadable;
        };
        let id =
            |nmethod: &Nmethod| record.u32(layout.nmethod.compile_id) == Ok(nmethod.compile_id);
        let same = used != 0
            && record.u64(layout.blob.name) == Ok(self.name_pointer)
            && self.nmethod.as_ref().is_none_or(id)
            && code_range(&record, layout.blob.code, self.address).as_ref() == Ok(&self.code);
        if same { Life::Alive } else { Life::Gone }
    }

    /// Reads the header at `address`.
    ///
    /// # Errors
    /// It can't be read, or its numbers make no sense.
    pub fn read(memory: &impl Memory, layout: &VmLayout, address: u64) -> Result<Self, Unreadable> {
        let record = Record(memory.read_vec(address, layout.blob.header_len)?);
        let size = record.u32(layout.blob.size)?;
        let frame_words = record.u32(layout.blob.frame_size)?;
        let code = code_range(&record, layout.blob.code, address)?;
        let end = address.checked_add(u64::from(size)).ok_or(Unreadable)?;
        let inside = code.start >= address && code.end <= end && code.start <= code.end;
        // Interpreter and vtable blobs have a frame size of 0; stubs of some releases say -1 for "none".
        let frame_words = if frame_words == u32::MAX {
            0
        } else {
            frame_words
        };
        if size > MAX_BLOB || frame_words >= MAX_FRAME_WORDS || !inside {
            return Err(Unreadable);
        }
        let name_pointer = record.u64(layout.blob.name)?;
        let name = memory.read_name(name_pointer, MAX_NAME)?;
        if name.is_empty() {
            return Err(Unreadable);
        }
        let kind = BlobKind::of(&name);
        let nmethod = match kind {
            BlobKind::Compiled | BlobKind::NativeWrapper => {
                Some(Nmethod::read(memory, layout, address)?)
            }
            _ => None,
        };
        let frame_bytes = u64::from(frame_words) * 8;
        Ok(Blob {
            address,
            name_pointer,
            name: name.into(),
            kind,
            code,
            frame_bytes,
            nmethod,
        })
    }

    /// What [`Blob::life`] reads.
    pub fn pieces(&self, layout: &VmLayout, cache: &CodeCache) -> [Piece; 2] {
        let used = Piece {
            // Where no blob can be there is nothing to be read either.
            address: cache.used(self.address).unwrap_or(0),
            len: 1,
        };
        let header = Piece {
            address: self.address,
            len: self.header_len(layout),
        };
        [used, header]
    }

    fn header_len(&self, layout: &VmLayout) -> usize {
        match self.nmethod {
            Some(_) => layout.nmethod.header_len,
            None => layout.blob.header_len,
        }
    }
}

impl BlobKind {
    fn of(name: &str) -> Self {
        match name {
            "nmethod" => BlobKind::Compiled,
            "native nmethod" => BlobKind::NativeWrapper,
            "Interpreter" => BlobKind::Interpreter,
            // "StubRoutines (continuation stubs)" in 21, "StubRoutines (continuationstubs)" in 25; 26 has another prefix.
            name if name.contains("(continuation") || name.contains("continuationstubs") => {
                BlobKind::Continuation
            }
            _ => BlobKind::Other,
        }
    }
}

impl Nmethod {
    fn read(memory: &impl Memory, layout: &VmLayout, address: u64) -> Result<Self, Unreadable> {
        let record = Record(memory.read_vec(address, layout.nmethod.header_len)?);
        let handlers = layout
            .nmethod
            .deopt_handlers
            .iter()
            .filter_map(|handler| match *handler {
                DeoptHandler::Pointer(at) => record.u64(at).ok().filter(|&pointer| pointer != 0),
                DeoptHandler::Offset(at) => {
                    // -1 where a method has no such handler.
                    let offset = record
                        .u32(at)
                        .ok()
                        .filter(|&offset| offset != 0 && offset < MAX_BLOB)?;
                    Some(address.wrapping_add(u64::from(offset)))
                }
            });
        let (pcs, scopes) = scopes(&record, layout, address)?;
        Ok(Nmethod {
            method: record.u64(layout.nmethod.method)?,
            compile_id: record.u32(layout.nmethod.compile_id)?,
            level: record.u8(layout.nmethod.comp_level)?,
            orig_pc_offset: record.u32(layout.nmethod.orig_pc_offset)?,
            deopt_handlers: handlers.collect(),
            pcs,
            scopes,
            metadata: metadata(&record, layout, address)?,
        })
    }
}

fn code_range(record: &Record, range: CodeRange, address: u64) -> Result<Range<u64>, Unreadable> {
    let offset = |at| Ok(address.wrapping_add(u64::from(record.u32(at)?)));
    Ok(match range {
        CodeRange::Pointers { begin, end } => record.u64(begin)?..record.u64(end)?,
        CodeRange::Offsets { code, data } => offset(code)?..offset(data)?,
    })
}

fn scopes(
    record: &Record,
    layout: &VmLayout,
    address: u64,
) -> Result<(Range<u64>, u64), Unreadable> {
    let from = |base: u64, at: u64| Ok(base.wrapping_add(u64::from(record.u32(at)?)));
    match layout.scopes.pcs {
        ScopesPlace::Blob {
            pcs,
            pcs_end,
            data_pointer,
            data_offset,
        } => {
            let data = match (data_pointer, data_offset) {
                (Some(at), _) => record.u64(at)?,
                (None, Some(at)) => from(address, at)?,
                (None, None) => return Err(Unreadable),
            };
            Ok((from(address, pcs)?..from(address, pcs_end)?, data))
        }
        ScopesPlace::Immutable { base, pcs, data } => {
            let base = record.u64(base)?;
            Ok((from(base, pcs)?..from(base, data)?, from(base, data)?))
        }
    }
}

fn metadata(record: &Record, layout: &VmLayout, address: u64) -> Result<u64, Unreadable> {
    Ok(match layout.scopes.metadata {
        MetadataPlace::Blob(at) => address.wrapping_add(u64::from(record.u32(at)?)),
        MetadataPlace::Data { data, metadata } => {
            let data = address.wrapping_add(u64::from(record.u32(data)?));
            data.wrapping_add(u64::from(record.u16(metadata)?))
        }
        MetadataPlace::Mutable {
            base,
            relocation_size,
        } => record
            .u64(base)?
            .wrapping_add(u64::from(record.u32(relocation_size)?)),
    })
}

/// Bytes of one structure of the target.
pub struct Record(pub Vec<u8>);

impl Record {
    pub fn u8(&self, at: u64) -> Result<u8, Unreadable> {
        self.bytes(at).map(|[byte]| byte)
    }

    pub fn u16(&self, at: u64) -> Result<u16, Unreadable> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    pub fn u32(&self, at: u64) -> Result<u32, Unreadable> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    pub fn u64(&self, at: u64) -> Result<u64, Unreadable> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&self, at: u64) -> Result<[u8; N], Unreadable> {
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| self.0.get(at..))
            .ok_or(Unreadable)?;
        rest.first_chunk().copied().ok_or(Unreadable)
    }
}
