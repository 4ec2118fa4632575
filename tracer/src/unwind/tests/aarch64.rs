//! The rules of aarch64, on memory made by hand: the link register, frames of both kinds of Java code, signed return
//! addresses. They run on any machine; no JVM has been walked on this processor.

use std::fs::File;
use std::sync::Arc;

use serde_json::json;

use crate::stack::{Frame, ModuleId, StackEnd};
use crate::target::modules::{MappedRange, Module, ModuleTable};
use crate::unwind::arch::Arch;
use crate::unwind::cfi::{Cfa, Place, Row, Rule};
use crate::unwind::hotspot::layout::*;
use crate::unwind::hotspot::{HotSpot, JvmVersion};
use crate::unwind::memory::RecordedMemory;
use crate::unwind::native::NativeUnwinder;
use crate::unwind::{Registers, StackCapture, Unwinder};

use super::describe;

const LIBC: u64 = 0x1000_0000;
const LIBJVM: u64 = 0x2000_0000;
const CODE: u64 = 0x7000_0000;
const SEGMAP: u64 = 0x6000_0000;
/// Blobs begin behind the headers of their blocks, which begin at these segments.
const INTERPRETER: u64 = CODE + 16;
const COMPILED: u64 = CODE + 8 * 128 + 16;
const STUBS: u64 = CODE + 16 * 128 + 16;
/// Where the code in a blob begins.
const BODY: u64 = 256;
const FRAME_WORDS: u32 = 6;
const CALL_STUB_RETURN: u64 = STUBS + BODY + 32;
const METADATA: u64 = 0x5000_0000;
const STACK: u64 = 0x7f00_0000_0000;
/// What a processor leaves in the upper bits of a signed return address.
const SIGNATURE: u64 = 0x00b5_0000_0000_0000;

/// Words to be put at addresses.
fn put(memory: &mut RecordedMemory, address: u64, words: &[u64]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.put(address, &bytes);
}

fn layout() -> VmLayout {
    let nothing = CodeCacheLayout {
        heaps: Heaps::One(0),
        memory: 0,
        segmap: 0,
        log2_segment_size: 0,
        space_low: 0,
        space_low_boundary: 0,
        space_high_boundary: 0,
        block_size: 16,
        block_used: 8,
    };
    VmLayout {
        release: 21,
        code_cache: nothing,
        blob: BlobLayout {
            name: 0,
            size: 8,
            frame_size: 12,
            code: CodeRange::Pointers { begin: 16, end: 24 },
            header_len: 32,
        },
        nmethod: NmethodLayout {
            method: 32,
            compile_id: 40,
            comp_level: 44,
            orig_pc_offset: 48,
            deopt_handlers: vec![DeoptHandler::Pointer(56)],
            header_len: 96,
        },
        scopes: ScopesLayout {
            pcs: ScopesPlace::Blob {
                pcs: 64,
                pcs_end: 68,
                data_pointer: Some(72),
                data_offset: None,
            },
            metadata: MetadataPlace::Blob(80),
        },
        method: MethodLayout {
            const_method: 8,
            access_flags: 16,
            constants: 8,
            flags: 16,
            has_line_table: 1,
            code_size: 18,
            name_index: 20,
            signature_index: 22,
            const_method_size: 24,
            constant_pool_size: 16,
            pool_holder: 8,
            source_file: SourceFile::Unknown,
            klass_name: 8,
            symbol_length: 0,
            symbol_body: 2,
        },
        threads: None,
        call_stub_return: Some(CALL_STUB_RETURN),
        call_wrapper_words: -8,
        call_wrapper_anchor: None,
        continuation: None,
    }
}

/// A method with 16 bytes of code whose line is 7 from bytecode 5 on; its address, and that of its code.
fn method(memory: &mut RecordedMemory, at: u64, name: &str) -> (u64, u64) {
    let [constant, pool, class, class_name, own_name, signature] =
        [0x100, 0x200, 0x300, 0x400, 0x500, 0x600].map(|offset| at + offset);
    put(memory, at, &[0, constant, 0]);
    // Flags, size of the code, and the indices of name and signature.
    put(
        memory,
        constant,
        &[0, pool, 1 | 16 << 16 | 1 << 32 | 2 << 48, 0, 0],
    );
    memory.put(constant + 24 + 16, &[5 << 3 | 7, 0]);
    memory.put(constant + 24 + 18, &[0; 600]);
    put(memory, pool, &[0, class, 0, own_name, signature]);
    put(memory, class, &[0, class_name]);
    for (address, text) in [
        (class_name, "Example"),
        (own_name, name),
        (signature, "()V"),
    ] {
        memory.put(address, &(text.len() as u16).to_le_bytes());
        memory.put(address + 2, text.as_bytes());
    }
    (at, constant + 24)
}

/// A blob of 1 KiB in a block of its own.
fn blob(memory: &mut RecordedMemory, at: u64, name: &str, frame_words: u32) {
    put(memory, at - 16, &[8, 1]);
    let name_at = METADATA + 0x1_0000 + (at - CODE) * 4;
    memory.put(name_at, &[name.as_bytes(), &[0; 256]].concat());
    put(
        memory,
        at,
        &[
            name_at,
            1000 | u64::from(frame_words) << 32,
            at + BODY,
            at + 900,
        ],
    );
}

/// An interpreter that runs `outer`, which has called the compiled `inner`, on a thread that came from libjvm.
fn memory() -> RecordedMemory {
    let mut memory = RecordedMemory::default();
    let mut segmap = [0xff_u8; 256];
    for first in [0, 8, 16] {
        for hop in 0..8 {
            segmap[first + hop] = hop as u8;
        }
    }
    memory.put(SEGMAP, &segmap);
    memory.put(SEGMAP + 256, &[0xff; 256]);
    blob(&mut memory, INTERPRETER, "Interpreter", 0);
    blob(&mut memory, COMPILED, "nmethod", FRAME_WORDS);
    blob(&mut memory, STUBS, "StubRoutines (initial stubs)", 0);
    let (inner, _) = method(&mut memory, METADATA, "inner");
    method(&mut memory, METADATA + 0x1000, "outer");
    // Method; compile id and level 4; no deoptimisation; PcDescs, scopes and metadata in the blob.
    put(&mut memory, COMPILED + 32, &[inner, 1 | 4 << 32, 0, 0]);
    put(
        &mut memory,
        COMPILED + 64,
        &[96 | 144 << 32, COMPILED + 160, 184, 0],
    );
    let call = 64_u64;
    put(
        &mut memory,
        COMPILED + 96,
        &[u64::from(u32::MAX), 0, call | 1 << 32, 0, 0x7fff_ffff, 0],
    );
    // Sender 0, method 1, bytecode 5: one is added, and no byte is zero since JDK 20.
    memory.put(
        COMPILED + 160,
        &[0, 1, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    put(&mut memory, COMPILED + 184, &[inner]);
    memory
}

fn modules() -> ModuleTable {
    let module = |(index, (path, start)): (usize, (&str, u64))| Module {
        id: ModuleId(index as u32),
        path: path.into(),
        deleted: false,
        device: (0, 0),
        inode: 0,
        build_id: None,
        file: Arc::new(File::open("/dev/null").unwrap()),
        ranges: vec![MappedRange {
            start,
            end: start + 0x1000,
            file_offset: 0,
            executable: true,
        }],
    };
    let both = [("libc.so.6", LIBC), ("libjvm.so", LIBJVM)];
    ModuleTable::from_modules(both.into_iter().enumerate().map(module).collect())
}

fn unwinder(arch: Arch) -> Unwinder<RecordedMemory> {
    let native = |module, offset| Frame::Native {
        module: ModuleId(module),
        offset,
    };
    let row = |cfa, ra, fp| {
        Some(Rule::Row(Row {
            cfa,
            ra,
            fp,
            bx: Place::Same,
        }))
    };
    let known = vec![
        (
            LIBC + 0x10,
            native(0, 0x10),
            row(Cfa::Sp(0), Place::Same, Place::Same),
        ),
        (
            LIBJVM + 0xff,
            native(1, 0xff),
            row(Cfa::Sp(32), Place::AtCfa(-24), Place::AtCfa(-32)),
        ),
        (
            LIBJVM + 0x1ff,
            native(1, 0x1ff),
            row(Cfa::Fp(16), Place::AtCfa(-8), Place::AtCfa(-16)),
        ),
        (
            LIBC + 0x2ff,
            native(0, 0x2ff),
            row(Cfa::Sp(16), Place::Undefined, Place::Same),
        ),
    ];
    let heap =
        json!({"low": CODE, "start": CODE, "end": CODE + 256 * 128, "segmap": SEGMAP, "shift": 7});
    let code_cache = json!({
        "heaps": [heap], "low": CODE, "high": CODE + 256 * 128, "block_size": 16, "block_used": 8
    });
    let version = JvmVersion {
        name: String::from("by hand"),
        version: String::from("21"),
    };
    let mut unwinder = Unwinder::new(memory());
    unwinder.arch = arch;
    unwinder.native = NativeUnwinder::from_known(known);
    unwinder.jvm = Some(Ok(HotSpot::new(
        version,
        layout(),
        serde_json::from_value(code_cache).unwrap(),
    )));
    unwinder
}

/// The stack at a call of malloc that has done nothing yet. `pushed` words lie between the compiled frame and the call.
fn stack(pushed: u64) -> Vec<u8> {
    let mut memory = RecordedMemory::default();
    memory.put(STACK, &[0x5a; 1024]);
    let (_, bytecode) = method(&mut RecordedMemory::default(), METADATA + 0x1000, "outer");
    let interpreted_fp = STACK + 0x200;
    let call_stub_fp = STACK + 0x280;
    let native_fp = STACK + 0x2c0;
    // libjvm's frame: frame pointer and return address at its bottom.
    put(
        &mut memory,
        STACK,
        &[0xdead, (COMPILED + BODY + 64) | SIGNATURE, 0, 0],
    );
    let top = STACK + 32 + 8 * pushed + 8 * u64::from(FRAME_WORDS);
    put(
        &mut memory,
        top - 16,
        &[interpreted_fp, (INTERPRETER + BODY + 100) | SIGNATURE],
    );
    // Nine slots: the bytecode pointer; the one of x86_64, which means something else here; method; sender's.
    put(
        &mut memory,
        interpreted_fp - 72,
        &[bytecode + 6, bytecode + 1],
    );
    put(&mut memory, interpreted_fp - 24, &[METADATA + 0x1000]);
    put(&mut memory, interpreted_fp - 8, &[interpreted_fp + 16]);
    put(
        &mut memory,
        interpreted_fp,
        &[call_stub_fp, CALL_STUB_RETURN | SIGNATURE],
    );
    put(
        &mut memory,
        call_stub_fp,
        &[native_fp, (LIBJVM + 0x200) | SIGNATURE],
    );
    put(&mut memory, native_fp, &[0, (LIBC + 0x300) | SIGNATURE]);
    memory.ranges.remove(&STACK).unwrap()
}

fn capture(bytes: &[u8]) -> StackCapture<'_> {
    StackCapture {
        registers: Registers {
            ip: LIBC + 0x10,
            sp: STACK,
            fp: 0xbeef,
            lr: (LIBJVM + 0x100) | SIGNATURE,
        },
        ip_is_return_address: false,
        bytes,
        missing: 0,
        taken: std::time::Instant::now(),
        truncated: false,
        tid: 1,
        replaced: &[],
        anchor: None,
    }
}

/// The leaf is left by the link register, compiled and interpreted frames by where aarch64 keeps their callers, and
/// signed return addresses count without their signature; also where compiled code has pushed two words for the call.
#[test]
fn whole_stack() {
    for pushed in [0, 2] {
        let (modules, mut unwinder) = (modules(), unwinder(Arch::Aarch64));
        let bytes = stack(pushed);
        let stack = unwinder.unwind(&modules, &capture(&bytes));
        let expected = [
            "native libc.so.6+0x10",
            "native libjvm.so+0xff",
            "C2 Example.inner()V:7",
            "Interpreted Example.outer()V:7",
            "stub call_stub",
            "native libjvm.so+0x1ff",
            "native libc.so.6+0x2ff",
            "end root",
        ];
        assert_eq!(
            describe(&stack, unwinder.methods(), &modules),
            expected,
            "{pushed}"
        );
    }
}

/// By the rules of the other architecture the same stack has no second frame.
#[test]
fn not_by_other_rules() {
    let (modules, mut unwinder) = (modules(), unwinder(Arch::X86_64));
    let bytes = stack(0);
    let stack = unwinder.unwind(&modules, &capture(&bytes));
    assert_eq!((stack.end, stack.frames.len()), (StackEnd::NoUnwindInfo, 1));
}
