use super::super::UnsupportedJvm;
use super::super::vm_structs::{Field, VmStructs};
use super::*;
use crate::unwind::memory::RecordedMemory;

/// Address of the release number.
const RELEASE: u64 = 0x9000;

/// Instance fields that all releases share, at offsets of 17.
const COMMON: &[(&str, &str, u64)] = &[
    ("CodeHeap", "_memory", 8),
    ("CodeHeap", "_segmap", 120),
    ("CodeHeap", "_log2_segment_size", 256),
    ("VirtualSpace", "_low", 16),
    ("VirtualSpace", "_low_boundary", 0),
    ("VirtualSpace", "_high_boundary", 8),
    ("HeapBlock::Header", "_used", 8),
    ("CodeBlob", "_name", 96),
    ("CodeBlob", "_size", 12),
    ("CodeBlob", "_frame_size", 28),
    ("nmethod", "_compile_id", 304),
    ("nmethod", "_comp_level", 308),
    ("nmethod", "_orig_pc_offset", 300),
    ("nmethod", "_scopes_pcs_offset", 268),
    ("Method", "_constMethod", 8),
    ("Method", "_access_flags", 40),
    ("ConstMethod", "_constants", 8),
    ("ConstMethod", "_code_size", 32),
    ("ConstMethod", "_name_index", 34),
    ("ConstMethod", "_signature_index", 36),
    ("ConstantPool", "_pool_holder", 24),
    ("Klass", "_name", 24),
    ("Symbol", "_body", 6),
    ("OSThread", "_thread_id", 208),
    ("JavaThread", "_anchor", 656),
    ("JavaFrameAnchor", "_last_Java_sp", 0),
    ("JavaFrameAnchor", "_last_Java_pc", 8),
    ("JavaFrameAnchor", "_last_Java_fp", 16),
];

const POINTERS: &[(&str, &str, u64)] = &[
    ("CodeBlob", "_code_begin", 32),
    ("CodeBlob", "_code_end", 40),
    ("CompiledMethod", "_method", 112),
    ("CompiledMethod", "_scopes_data_begin", 120),
    ("CompiledMethod", "_deopt_handler_begin", 128),
    ("CompiledMethod", "_deopt_mh_handler_begin", 136),
    ("nmethod", "_metadata_offset", 260),
    ("nmethod", "_dependencies_offset", 272),
    ("JavaThread", "_osthread", 560),
];

const OFFSETS: &[(&str, &str, u64)] = &[
    ("CodeBlob", "_code_offset", 36),
    ("CodeBlob", "_data_offset", 40),
    ("nmethod", "_method", 80),
    ("nmethod", "_scopes_data_offset", 200),
];

const STATICS: &[(&str, &str)] = &[
    ("StubRoutines", "_call_stub_return_address"),
    ("Abstract_VM_Version", "_vm_major_version"),
    ("Threads", "_thread_list"),
];

fn structs(fields: &[&[(&str, &str, u64)]], statics: &[(&str, &str)]) -> VmStructs {
    let mut structs = VmStructs::default();
    for &(class, field, offset) in fields.iter().copied().flatten() {
        structs.set(class, field, Field { offset, address: 0 });
    }
    for (class, field) in statics.iter().chain(STATICS) {
        structs.set(
            class,
            field,
            Field {
                offset: 0,
                address: RELEASE,
            },
        );
    }
    for class in [
        "HeapBlock",
        "CodeBlob",
        "nmethod",
        "ConstMethod",
        "ConstantPool",
    ] {
        structs.set_size(class, 64);
    }
    structs
}

const HEAPS: &[(&str, &str)] = &[("CodeCache", "_heaps")];
const SMR: &[(&str, &str)] = &[
    ("CodeCache", "_heaps"),
    ("ThreadsSMRSupport", "_java_thread_list"),
];

fn eleven() -> VmStructs {
    let own: &[(&str, &str, u64)] = &[
        ("GenericGrowableArray", "_len", 0),
        ("GrowableArray<int>", "_data", 24),
        ("InstanceKlass", "_source_file_name_index", 298),
        ("ConstMethod", "_flags", 36),
        ("Symbol", "_length", 0),
        ("JavaThread", "_next", 784),
    ];
    structs(&[COMMON, POINTERS, own], HEAPS)
}

fn seventeen() -> VmStructs {
    let own: &[(&str, &str, u64)] = &[
        ("GrowableArrayBase", "_len", 0),
        ("GrowableArray<int>", "_data", 8),
        ("ConstantPool", "_source_file_name_index", 54),
        ("ConstMethod", "_flags", 28),
        ("Symbol", "_length", 4),
        ("ThreadsList", "_length", 4),
        ("ThreadsList", "_threads", 16),
    ];
    structs(&[COMMON, POINTERS, own], SMR)
}

fn twenty_five() -> VmStructs {
    let own: &[(&str, &str, u64)] = &[
        ("GrowableArrayBase", "_len", 0),
        ("GrowableArray<int>", "_data", 8),
        ("ConstantPool", "_source_file_name_index", 54),
        ("ConstMethod", "_flags._flags", 28),
        ("Symbol", "_length", 4),
        ("nmethod", "_immutable_data", 96),
        ("nmethod", "_deopt_handler_offset", 176),
        ("CodeBlob", "_mutable_data", 16),
        ("CodeBlob", "_relocation_size", 28),
        ("Thread", "_osthread", 1016),
        ("ThreadsList", "_length", 4),
        ("ThreadsList", "_threads", 16),
    ];
    structs(
        &[COMMON, OFFSETS, own],
        &[SMR, &[("ContinuationEntry", "_return_pc")]].concat(),
    )
}

fn detect(structs: &VmStructs, release: u32) -> Result<VmLayout, UnsupportedJvm> {
    let mut memory = RecordedMemory::default();
    memory.put(RELEASE, &u64::from(release).to_le_bytes());
    VmLayout::detect(structs, &memory)
}

/// Releases 11 and 17 keep everything in the blob and differ in arrays, symbols, source files and threads.
#[test]
fn blob_layouts() {
    let layout = detect(&eleven(), 11).unwrap();
    assert_eq!(
        layout.code_cache.heaps,
        Heaps::Array {
            address: RELEASE,
            len: 0,
            data: 24
        }
    );
    assert_eq!(layout.method.source_file, SourceFile::InstanceKlass(298));
    assert_eq!(layout.method.symbol_length, 0);
    assert_eq!(
        layout.threads.unwrap().list,
        ThreadList::Linked {
            address: RELEASE,
            next: 784
        }
    );
    let layout = detect(&seventeen(), 17).unwrap();
    assert_eq!(layout.release, 17);
    assert_eq!(
        layout.code_cache.heaps,
        Heaps::Array {
            address: RELEASE,
            len: 0,
            data: 8
        }
    );
    assert_eq!(layout.method.source_file, SourceFile::ConstantPool(54));
    assert_eq!(
        layout.nmethod.deopt_handlers,
        [DeoptHandler::Pointer(128), DeoptHandler::Pointer(136)]
    );
    assert_eq!(layout.scopes.metadata, MetadataPlace::Blob(260));
    let pcs = ScopesPlace::Blob {
        pcs: 268,
        pcs_end: 272,
        data_pointer: Some(120),
        data_offset: None,
    };
    assert_eq!(layout.scopes.pcs, pcs);
    let list = ThreadList::Array {
        address: RELEASE,
        len: 4,
        threads: 16,
    };
    assert_eq!(layout.threads.unwrap().list, list);
    assert_eq!(layout.continuation, None);
}

/// Release 25 keeps debug information and metadata in blocks of their own; without the second one it is 23's layout,
/// whatever the release says: vendors back-port both.
#[test]
fn block_layouts() {
    let mut structs = twenty_five();
    let layout = detect(&structs, 25).unwrap();
    assert_eq!(layout.blob.code, CodeRange::Offsets { code: 36, data: 40 });
    assert_eq!(
        layout.scopes.pcs,
        ScopesPlace::Immutable {
            base: 96,
            pcs: 268,
            data: 200
        }
    );
    assert_eq!(
        layout.scopes.metadata,
        MetadataPlace::Mutable {
            base: 16,
            relocation_size: 28
        }
    );
    assert_eq!(layout.nmethod.deopt_handlers, [DeoptHandler::Offset(176)]);
    assert_eq!(layout.threads.unwrap().os_thread, 1016);
    assert_eq!(
        layout.continuation,
        Some(ContinuationLayout { return_pc: RELEASE })
    );
    structs.remove("CodeBlob", "_mutable_data");
    structs.set(
        "nmethod",
        "_metadata_offset",
        Field {
            offset: 190,
            address: 0,
        },
    );
    let layout = detect(&structs, 11).unwrap();
    assert_eq!(
        layout.scopes.metadata,
        MetadataPlace::Data {
            data: 40,
            metadata: 190
        }
    );
}

/// Release 8 is known by its single code heap, not by the 25 that it reports.
#[test]
fn eight() {
    let mut structs = eleven();
    for (class, field) in [
        ("CodeCache", "_heaps"),
        ("CodeBlob", "_code_begin"),
        ("CompiledMethod", "_scopes_data_begin"),
    ] {
        structs.remove(class, field);
    }
    structs.set(
        "CodeCache",
        "_heap",
        Field {
            offset: 0,
            address: 0x77,
        },
    );
    for &(class, field, offset) in OFFSETS {
        structs.set(class, field, Field { offset, address: 0 });
    }
    let layout = detect(&structs, 25).unwrap();
    assert_eq!(layout.release, 8);
    assert_eq!(layout.code_cache.heaps, Heaps::One(0x77));
    let ScopesPlace::Blob {
        data_pointer: None,
        data_offset: Some(200),
        ..
    } = layout.scopes.pcs
    else {
        panic!("{:?}", layout.scopes)
    };
}

/// A JVM without a needed field is refused by the name of that field; one without threads' fields is not refused.
#[test]
fn missing_fields() {
    let mut structs = seventeen();
    structs.remove("OSThread", "_thread_id");
    assert_eq!(detect(&structs, 17).unwrap().threads, None);
    structs.remove("nmethod", "_compile_id");
    let missing = detect(&structs, 17).unwrap_err();
    assert_eq!(
        missing,
        UnsupportedJvm::Missing(String::from("nmethod::_compile_id"))
    );
    assert!(missing.to_string().contains("lacks nmethod::_compile_id"));
    assert_eq!(detect(&seventeen(), 0), Err(UnsupportedJvm::Starting));
}

/// An offset that no structure has is as good as missing.
#[test]
fn absurd_offset() {
    let mut structs = seventeen();
    structs.set(
        "CodeBlob",
        "_name",
        Field {
            offset: 1 << 40,
            address: 0,
        },
    );
    assert_eq!(
        detect(&structs, 17),
        Err(UnsupportedJvm::Missing(String::from("CodeBlob::_name")))
    );
}
