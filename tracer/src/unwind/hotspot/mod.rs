//! Java frames of HotSpot, read from the outside: from the tables in which the JVM describes itself.
//!
//! Only return addresses are met here, because the leaf of a stack is always at a probe in native code: prologues,
//! epilogues and registers that the interpreter keeps its state in do not matter.
//!
//! What changed, by the release that brought it (vendors back-port: only the presence of a field counts). "seen" is read in
//! the vmStructs of the builds below or on their stacks; numbers are those of OpenJDK's changes; "sources" are
//! `vmStructs.cpp`, `codeBlob.hpp`, `nmethod.hpp` and `frame_x86.hpp` of that release.
//!
//! | release | change | known from |
//! |---|---|---|
//! | 8 | one code heap (`CodeCache::_heap`); offsets instead of pointers in blobs (`_code_offset`, `_scopes_data_offset`, `_deoptimize_offset`); `Symbol::_length` before a hash, `_body` at 8; no mirror in interpreter frames, whose bytecode pointer is at fp − 56 and cache at fp − 40; UNSIGNED5 with zero bytes; reports itself as 25 | seen |
//! | 9 | up to three code heaps (`_heaps`, `_low_bound`, `_high_bound`; JEP 197); bytecode pointer at fp − 64; `CompiledMethod` between nmethod and CodeBlob (8152664); pointers instead of offsets | seen on 11; sources |
//! | 10 | threads in an array (`ThreadsSMRSupport::_java_thread_list`, 8167108) instead of a list | sources; seen on 17 |
//! | 12–16 | some builds: `Symbol::_length_and_refcount` | sources |
//! | 15 | a class's source file name moves to its constant pool; hidden classes, whose names end in an address | seen on 17 |
//! | 16 | critical natives are called no more (their wrappers have no anchor) | seen on 8, 11, 17 |
//! | 17 | `GrowableArrayBase`; `Symbol::_length` behind the hash | seen |
//! | 18 | reflection by method handles instead of native and generated accessors (8271820) | seen on 21 |
//! | 20 | UNSIGNED5 without zero bytes; no sweeper, so that only collections free code (8290025) | seen on 21; sources |
//! | 21 | `ConstMethod::_flags._flags`; virtual threads (JEP 444): continuation stubs, whose return barrier hides parked frames; `Continuation.enterSpecial` | seen |
//! | 22 | foreign functions (JEP 454, a preview in 21 with the same frames): `nep_invoker_blob`s, upcall stubs that keep a frame pointer | seen on 21, 25 |
//! | 23 | `CompiledMethod` is gone (8329332); 16-bit fields in headers (8329433); debug information in a malloc'ed block (`nmethod::_immutable_data`, 8331087), which is freed with the code; offsets instead of pointers again; 16-bit `_metadata_offset` | sources; 25 shares all but the last |
//! | 24 | G1's barriers are late (8334060): C2's code keeps all registers in use on the stack around their slow path | seen on 25; sources |
//! | 25 | metadata in another block (`CodeBlob::_mutable_data`, 8343789); blobs without a vtable pointer (8349088); 8-byte `HeapBlock` with a 32-bit length; `_osthread` in `Thread` | seen |
//! | 26 | `_deopt_handler_entry_offset` and no handler of its own for method handles (8365047, done again as 8371458); `_immutable_data_ref_count_offset`, since code may be copied (8316694); C2's code has no exception handler; stub names begin with "Stub Generator" | seen |
//! | 27 | nothing that is read here | seen |
//! | 28 | 16-bit `CodeBlob::_kind` pushes its neighbours; `StubRoutines::_cont_returnBarrier` is told | seen in an early access build |
//!
//! What was run, each under all flags and on all ways of `tests/tests/jdks.rs`: Temurin 11.0.13, 17.0.9, 21.0.8 and 25.0.2;
//! Debian 17.0.15; Debian unstable's 8u504, 26.0.2, 27.0.1 and 28-ea+18. With two sets of flags also Debian unstable's
//! 11.0.33-ea, 17.0.21, 21.0.13 and 25.0.5. 9, 10, 12 to 16, 18 to 20 and 22 to 24 were not run.

use std::sync::Arc;
use std::time::Instant;

use crate::stack::{MethodTable, UnknownReason};
use crate::target::modules::Module;
use crate::target::modules::elf;

use super::arch::Arch;
use super::memory::{Memory, PageCache};

pub mod anchor;
pub mod blob;
mod call;
mod code;
pub mod code_cache;
mod doubts;
mod frames;
mod heap;
mod known;
pub mod layout;
pub mod lines;
pub mod method;
mod moment;
pub mod names;
pub mod oracle;
mod resume;
pub mod scopes;
pub mod statics;
mod thread_name;
mod unloads;
pub mod unsigned5;
pub mod vm_structs;

use blob::{Blob, BlobKind, Life};
use code_cache::CodeCache;
use known::{KnownCode, Recalled};
use layout::{ScopesPlace, VmLayout};
use method::MethodCache;
use vm_structs::VmStructs;

pub use code::JavaCode;
pub use frames::{JavaStep, Walk};
pub use moment::{Look, Moment};
pub use thread_name::JavaThreadName;

/// Pages that the detection reads: vmStructs and the names in them span about sixty.
const DETECTION_PAGES: usize = 1024;
const MAX_VERSION: usize = 512;
/// In the name of a JVM without generated code.
const ZERO: &str = "Zero VM";

/// Why Java frames can't be walked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedJvm {
    #[error("libjvm.so exports no gHotSpotVMStructs: it is not HotSpot's")]
    NotHotSpot,
    #[error("libjvm.so can't be read as a 64-bit ELF file")]
    Unreadable,
    #[error("it is HotSpot's Zero, which interprets in C++: its stacks have no Java frames")]
    Zero,
    #[error("the JVM has not finished starting")]
    Starting,
    #[error("the JVM's own description (vmStructs) lacks {0}: this release is not known")]
    Missing(String),
    #[error("the JVM's own description (vmStructs) makes no sense: its {0} can't be read")]
    BadTables(&'static str),
}

/// What the JVM calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JvmVersion {
    /// `OpenJDK 64-Bit Server VM`.
    pub name: String,
    /// `17.0.15+6-Debian-1deb12u1`.
    pub version: String,
}

/// A HotSpot JVM whose frames can be walked.
#[derive(Debug)]
pub struct HotSpot {
    pub version: JvmVersion,
    layout: VmLayout,
    code_cache: CodeCache,
    known: KnownCode,
    unloads: unloads::Unloads,
    methods: MethodCache,
    threads: anchor::Threads,
    /// None where the JVM does not describe its heap well enough.
    thread_names: Option<thread_name::ThreadNames>,
    /// Of walks with what the JVM itself says.
    pub comparisons: oracle::Comparisons,
    /// Code that was found to be the next one of a walk.
    next: Option<(Moment, u64, Arc<JavaCode>)>,
    /// Room for batched reads.
    room: Vec<u8>,
}

impl HotSpot {
    /// Where this JVM keeps what a walk needs.
    pub fn layout(&self) -> &VmLayout {
        &self.layout
    }
}

#[cfg(test)]
impl HotSpot {
    /// Address and compile id of the lowest compiled method that is remembered.
    pub fn first_compiled(&self) -> Option<(u64, u32)> {
        let compiled = |code: &Arc<JavaCode>| {
            let blob = &code.blob;
            let nmethod = blob.nmethod.as_ref()?;
            (blob.kind == blob::BlobKind::Compiled).then_some((blob.address, nmethod.compile_id))
        };
        self.known.codes().filter_map(compiled).min()
    }

    /// Addresses of the names of all code that is remembered.
    pub fn blob_names(&self) -> Vec<u64> {
        self.known
            .codes()
            .map(|code| code.blob.name_pointer)
            .collect()
    }

    /// Whether a deoptimised frame has been met.
    pub fn met_deoptimized(&self) -> bool {
        let is_deoptimized =
            |code: &Arc<JavaCode>| matches!(code.rule, code::FrameRule::Deoptimized { .. });
        self.known.codes().any(is_deoptimized)
    }

    /// What a recorded stack needs besides memory.
    pub fn parts(&self) -> (JvmVersion, VmLayout, CodeCache) {
        (
            self.version.clone(),
            self.layout.clone(),
            self.code_cache.clone(),
        )
    }
}

impl HotSpot {
    /// Reads where the JVM whose libjvm is `module` keeps what a walk needs. `bias` is what was added to the addresses
    /// that the file states.
    ///
    /// # Errors
    /// [`UnsupportedJvm::Starting`] may pass; the others stay.
    pub fn detect(
        memory: &impl Memory,
        module: &Module,
        bias: u64,
    ) -> Result<Self, UnsupportedJvm> {
        let memory = PageCache::new(memory, DETECTION_PAGES);
        let structs = VmStructs::read(&memory, &module.file, bias)?;
        if version(&structs, &memory, 0).name.contains(ZERO) {
            return Err(UnsupportedJvm::Zero);
        }
        let layout = VmLayout::detect(&structs, &memory)?;
        let code_cache = CodeCache::read(&memory, &layout.code_cache)?;
        let version = version(&structs, &memory, layout.release);
        Ok(HotSpot {
            thread_names: thread_name::ThreadNames::detect(&structs),
            unloads: unloads::Unloads::find(&structs, &memory),
            ..Self::new(version, layout, code_cache)
        })
    }

    /// A JVM whose layout is known, for recorded stacks.
    pub fn new(version: JvmVersion, layout: VmLayout, code_cache: CodeCache) -> Self {
        HotSpot {
            version,
            layout,
            code_cache,
            known: KnownCode::default(),
            unloads: unloads::Unloads::default(),
            methods: MethodCache::default(),
            threads: anchor::Threads::default(),
            thread_names: None,
            comparisons: oracle::Comparisons::default(),
            next: None,
            room: Vec::new(),
        }
    }

    /// Whether `address` is in the code cache, so that this unwinder and no other has to know it.
    pub fn contains(&self, address: u64) -> bool {
        self.code_cache.contains(address)
    }

    /// Java threads by the id that the target sees, with the addresses of their anchors.
    pub fn anchors(&mut self, memory: &impl Memory) -> Option<Vec<(u32, u64)>> {
        let layout = self.layout.threads.as_ref()?;
        self.threads.anchors(memory, layout, Instant::now())
    }

    /// The Java name of the thread that the target knows as `tid`.
    pub fn thread_name(&mut self, memory: &impl Memory, tid: u32) -> Option<JavaThreadName> {
        let now = Instant::now();
        let threads = self.layout.threads.as_ref()?;
        let thread = self.threads.thread(memory, threads, tid, now)?;
        let names = self.thread_names.as_mut()?;
        names.name(memory, &self.layout, thread, now)
    }

    /// The moment of a walk that begins now, with what the JVM says of it.
    pub fn at(&mut self, moment: Moment) -> Moment {
        self.unloads.at(moment)
    }

    /// What the return address `pc` meant when the stack was taken.
    fn code(
        &mut self,
        memory: &impl Memory,
        table: &mut MethodTable,
        moment: Moment,
        pc: u64,
    ) -> Result<Arc<JavaCode>, UnknownReason> {
        match self.next.take() {
            Some((at, next, code)) if (at, next) == (moment, pc) => return Ok(code),
            _ => {}
        }
        let (layout, cache) = (&self.layout, &self.code_cache);
        let before = match self.known.recall(memory, layout, cache, moment, pc) {
            Recalled::Code(code) => return Ok(code),
            Recalled::Doubtful => return Err(UnknownReason::Replaced),
            Recalled::Gone(code, span) => Some((code, span)),
            Recalled::Nothing => None,
        };
        let found = find_blob(memory, layout, cache, pc);
        let Some((gone, span)) = before else {
            return self.resolve(memory, table, moment, pc, found?, None);
        };
        match found {
            // What it was freed as is what it was: new code takes the end of a free block, and its head is nearer then.
            Ok(Found::Freed(blob) | Found::Bare(blob)) if blob.is_same(&gone.blob) => Ok(gone),
            Ok(found) if found.returns_to(memory, &self.layout, pc) => {
                self.resolve(memory, table, moment, pc, found, Some(span.last))
            }
            _ if span.reaches(moment) => Ok(gone),
            Ok(_) => Err(UnknownReason::Replaced),
            Err(reason) => Err(reason),
        }
    }

    /// Reads what `pc` means in the blob that is there; `other` is when another one was seen there for the last time.
    fn resolve(
        &mut self,
        memory: &impl Memory,
        table: &mut MethodTable,
        moment: Moment,
        pc: u64,
        found: Found,
        other: Option<Instant>,
    ) -> Result<Arc<JavaCode>, UnknownReason> {
        let (blob, is_live) = match found {
            // The JVM forgets the method before it frees it (up to 19: the code stays for a while).
            Found::Live(blob) => {
                let is_live = blob
                    .nmethod
                    .as_ref()
                    .is_none_or(|nmethod| nmethod.method != 0);
                (blob, is_live)
            }
            Found::Freed(blob) => (blob, false),
            Found::Bare(blob) => return Ok(Arc::new(JavaCode::bare(blob, pc))),
        };
        let mut resolver = code::Resolver {
            memory,
            layout: &self.layout,
            methods: &mut self.methods,
            table,
            // Code that is there now keeps its methods.
            moment: if is_live { moment.present() } else { moment },
        };
        let code = Arc::new(resolver.resolve(self.known.same(blob), pc));
        // It may have gone while it was read.
        if is_live && code.blob.life(memory, &self.layout, &self.code_cache) != Life::Alive {
            return Err(UnknownReason::Replaced);
        }
        if !code.is_complete || self.known.remember(moment, pc, &code, other) {
            Ok(code)
        } else {
            Err(UnknownReason::Replaced)
        }
    }
}

/// A blob at a return address.
enum Found {
    Live(Blob),
    /// What is left of one that was freed.
    Freed(Blob),
    /// The same, without what says which calls it had: since 23 that is freed apart from the code.
    Bare(Blob),
}

impl Found {
    fn blob(&self) -> &Blob {
        let (Found::Live(blob) | Found::Freed(blob) | Found::Bare(blob)) = self;
        blob
    }

    /// Whether a call in this code returns to exactly `pc`: the compiler notes each one that can meet a safepoint.
    fn returns_to(&self, memory: &impl Memory, layout: &VmLayout, pc: u64) -> bool {
        let (Found::Live(blob) | Found::Freed(blob)) = self else {
            return false;
        };
        let Some(nmethod) = blob.nmethod.as_ref() else {
            return true;
        };
        blob.kind == BlobKind::NativeWrapper
            || nmethod.deopt_handlers.contains(&pc)
            || scopes::at(memory, layout.release, nmethod, &blob.code, pc)
                .is_ok_and(|calls| !calls.is_empty())
    }
}

fn find_blob(
    memory: &impl Memory,
    layout: &VmLayout,
    cache: &CodeCache,
    pc: u64,
) -> Result<Found, UnknownReason> {
    let found = cache
        .blob(memory, pc)
        .map_err(|_| UnknownReason::BadMetadata)?;
    let Some(address) = found else {
        return freed_blob(memory, layout, cache, pc).ok_or(UnknownReason::NoCodeBlob);
    };
    let blob = Blob::read(memory, layout, address).map_err(|_| UnknownReason::BadMetadata)?;
    // A call may be a blob's last instruction.
    if blob.code.contains(&pc) || blob.code.end == pc {
        Ok(Found::Live(blob))
    } else {
        Err(UnknownReason::NoCodeBlob)
    }
}

/// Compiled code that was freed after the stack was copied: code that has become invalid (a deoptimised frame, a tier
/// that was left) is freed soon when the collector unloads concurrently. It is believed where it describes a call that
/// returns to exactly `pc`. Since JDK 23 what describes the calls is freed with it: then the call itself has to be there,
/// and only the size of the frame is believed.
fn freed_blob(
    memory: &impl Memory,
    layout: &VmLayout,
    cache: &CodeCache,
    pc: u64,
) -> Option<Found> {
    let begins = cache.freed(memory, pc).ok()?;
    begins.into_iter().find_map(|address| {
        let blob = Blob::read(memory, layout, address).ok()?;
        let nmethod = blob.nmethod.as_ref().filter(|_| blob.code.contains(&pc))?;
        let calls = scopes::at(memory, layout.release, nmethod, &blob.code, pc);
        if calls.is_ok_and(|calls| !calls.is_empty()) {
            return Some(Found::Freed(blob));
        }
        let is_apart = matches!(layout.scopes.pcs, ScopesPlace::Immutable { .. });
        let returns = nmethod.deopt_handlers.contains(&pc) || call::ends_at(memory, Arch::HOST, pc);
        // What lies above was put there before, or it would have covered this.
        (is_apart && returns).then_some(Found::Bare(blob))
    })
}

/// Whether a mapped file is a JVM's library.
pub fn is_libjvm(module: &Module) -> bool {
    module
        .path
        .file_name()
        .is_some_and(|name| name == "libjvm.so")
        && !module.ranges.is_empty()
}

/// What the loader added to the addresses that the file states.
pub fn load_bias(module: &Module) -> Option<u64> {
    let segments = elf::visit(&module.file, elf::segments)?;
    let range = module.ranges.iter().find(|range| range.executable)?;
    Some(
        range
            .start
            .wrapping_sub(elf::stated_address(&segments, range.file_offset)?),
    )
}

pub(super) fn version(structs: &VmStructs, memory: &impl Memory, release: u32) -> JvmVersion {
    let text = |field| {
        let place = structs.field(&[("Abstract_VM_Version", field)])?;
        let pointer = memory.read_u64(place.address).ok()?;
        memory
            .read_name(pointer, MAX_VERSION)
            .ok()
            .filter(|text| !text.is_empty())
    };
    // "OpenJDK 64-Bit Server VM (17.0.15+6-Debian-1deb12u1) for linux-amd64 JRE (…), built on …"
    let name = text("_s_internal_vm_info_string")
        .and_then(|info| Some(String::from(info.split_once(" (")?.0)));
    JvmVersion {
        name: name.unwrap_or_else(|| String::from("HotSpot")),
        version: text("_s_vm_release").unwrap_or_else(|| release.to_string()),
    }
}
