use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::capture::Owner;
use crate::stack::{Frame, JavaMethod, MethodId, ModuleId, StackEnd};
use crate::target::modules::{MappedRange, Module};

/// A function to look for: never inlined, so that its address is in its own code.
#[inline(never)]
extern "C" fn a_function_to_look_for() -> u32 {
    std::hint::black_box(line!())
}

/// The test's own binary as a module, opened by `path`, and the file offset of an address in it.
fn own_module(path: PathBuf, address: u64) -> (Module, u64) {
    let process = procfs::process::Process::myself().expect("ourselves");
    let maps = process.maps().expect("our mappings");
    let map = maps
        .iter()
        .find(|map| (map.address.0..map.address.1).contains(&address))
        .expect("a mapping");
    let module = Module {
        id: ModuleId(0),
        file: Arc::new(File::open("/proc/self/exe").expect("our own binary")),
        path,
        deleted: false,
        device: (0, 0),
        inode: map.inode,
        build_id: None,
        ranges: Vec::new(),
    };
    (module, address - map.address.0 + map.offset)
}

fn named(frames: Vec<Frame>, modules: Vec<Module>, methods: Vec<JavaMethod>) -> NamedStack {
    let (modules, methods) = (ModuleTable::from_modules(modules), MethodTable { methods });
    let method_names = MethodNames::new(&methods);
    let sources = Sources {
        modules: &modules,
        methods: &methods,
        method_names: &method_names,
        perf_map: None,
    };
    let mut native = NativeNames::default();
    Namer::new(sources, &mut native).name(&Stack {
        frames,
        end: StackEnd::Root,
    })
}

/// Proves that a function of this very binary is found with file and line, by its path and by the open descriptor.
#[test]
fn our_own_function_is_found() {
    let address = a_function_to_look_for as *const () as u64;
    let ours = std::env::current_exe().expect("our own path");
    for path in [ours, PathBuf::from("/no/such/namespace/app")] {
        let (module, offset) = own_module(path.clone(), address);
        let stack = named(
            vec![Frame::Native {
                module: ModuleId(0),
                offset,
            }],
            vec![module],
            Vec::new(),
        );
        let frame = stack.frames.last().expect("a frame");
        assert!(frame.name.ends_with("a_function_to_look_for"), "{frame:?}");
        assert_eq!(frame.kind, FrameKind::Native);
        assert_eq!(
            frame.module.as_deref(),
            path.file_name().and_then(|name| name.to_str())
        );
        assert!(
            frame
                .file
                .as_deref()
                .is_some_and(|file| file.ends_with("symbolize/tests.rs")),
            "{frame:?}"
        );
        // Its opening, or, optimised, its only statement.
        assert!(matches!(frame.line, Some(12 | 13)), "{frame:?}");
        // Optimised, `black_box` is another one, inlined.
        assert!(stack.total <= 2 && stack.symbolized == stack.total);
    }
}

/// An address in the code of the function that this is inlined into.
#[inline(always)]
fn an_inlined_function() -> u64 {
    let address: u64;
    // SAFETY: the instruction only reads the program counter.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("lea {}, [rip]; nop", out(reg) address, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("adr {}, .", out(reg) address, options(nomem, nostack, preserves_flags));
    }
    address
}

#[inline(never)]
fn a_function_with_another_inlined() -> u64 {
    std::hint::black_box(an_inlined_function())
}

/// Proves that a function that the compiler inlined gets a frame of its own, before the one that it is in.
#[test]
fn inlined_native_functions_are_frames() {
    let address = a_function_with_another_inlined();
    let (module, offset) = own_module(std::env::current_exe().expect("our own path"), address);
    let stack = named(
        vec![Frame::Native {
            module: ModuleId(0),
            offset,
        }],
        vec![module],
        Vec::new(),
    );
    let seen: Vec<_> = stack
        .frames
        .iter()
        .map(|f| (f.name.rsplit("::").next().unwrap_or_default(), f.kind))
        .collect();
    assert_eq!(
        seen,
        [
            ("an_inlined_function", FrameKind::Inlined),
            ("a_function_with_another_inlined", FrameKind::Native)
        ]
    );
    assert!(stack.frames[0].line < stack.frames[1].line && stack.frames[0].module.is_some());
    assert_eq!((stack.symbolized, stack.total), (2, 2));
}

/// Proves that the kernel's own library, which is in memory only, gives its functions their names.
#[test]
fn the_vdso_has_names() {
    let mut modules = ModuleTable::default();
    modules
        .refresh(std::process::id())
        .expect("our own mappings");
    let vdso = modules
        .modules
        .iter()
        .find(|module| module.path.as_os_str() == "[vdso]");
    let vdso = vdso.expect("every process has one");
    let symbol = crate::target::modules::elf::visit(&vdso.file, |elf| {
        use object::{Object, ObjectSymbol};
        let mut symbols = elf.dynamic_symbols();
        let symbol = symbols.find(|symbol| symbol.name().is_ok_and(|name| name.starts_with("__")));
        symbol.map(|symbol| {
            (
                symbol.name().unwrap_or_default().to_owned(),
                symbol.address(),
            )
        })
    });
    let (name, address) = symbol.flatten().expect("functions of the vdso");
    // The file is mapped as it is, from its beginning.
    let frame = Frame::Native {
        module: vdso.id,
        offset: address + 1,
    };
    let stack = named(vec![frame], modules.modules.clone(), Vec::new());
    let frame = &stack.frames[0];
    let seen = frame
        .name
        .trim_start_matches('_')
        .trim_start_matches("vdso_");
    assert_eq!(
        seen,
        name.trim_start_matches('_').trim_start_matches("vdso_")
    );
    assert_eq!(frame.module.as_deref(), Some("[vdso]"));
}

/// Proves that a place without a symbol, a file that is no ELF file and a module that is not there have reasons.
#[test]
fn nameless_places_have_reasons() {
    let text = Module {
        path: PathBuf::from("/etc/notes\x1b.txt"),
        file: Arc::new(
            File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
                .expect("a text file"),
        ),
        ..own_module(PathBuf::new(), a_function_to_look_for as *const () as u64).0
    };
    let no_symbol = Module {
        path: "/usr/lib/lib.so".into(),
        id: ModuleId(1),
        file: own_file(),
        ..text.clone()
    };
    let at = |module, offset| Frame::Native {
        module: ModuleId(module),
        offset,
    };
    let modules = ModuleTable::from_modules(vec![text, no_symbol]);
    let mut native = NativeNames::default();
    let frames = vec![at(0, 0x10), at(1, u64::MAX), at(2, 0x30)];
    let stack = Stack {
        frames,
        end: StackEnd::Root,
    };
    let (methods, method_names) = (MethodTable::default(), MethodNames::default());
    let sources = Sources {
        modules: &modules,
        methods: &methods,
        method_names: &method_names,
        perf_map: None,
    };
    let stack = Namer::new(sources, &mut native).name(&stack);
    let seen: Vec<_> = stack
        .frames
        .iter()
        .map(|f| (f.name.as_str(), f.reason.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("[notes_.txt+0x10]", Some("unreadable symbols")),
            ("[lib.so+0xffffffffffffffff]", Some("no symbol")),
            ("[unknown file+0x30]", Some("no symbol")),
        ]
    );
    assert_eq!((stack.symbolized, stack.total), (0, 3));
    let notes = native.notes(&modules);
    assert!(
        notes == ["/etc/notes_.txt: no symbols, since it is no ELF file that can be read"],
        "{notes:?}"
    );
}

/// Proves that a big file without debug information is named once, with what its names come from, and a small one not.
#[test]
fn missing_debug_information_is_said_once() {
    let bytes = image::elf(&[]);
    let file = crate::target::modules::open::in_memory(c"test", &bytes).expect("memory");
    let module = |id, path: &str, code: u64| Module {
        id: ModuleId(id),
        path: path.into(),
        file: Arc::new(file.try_clone().expect("a descriptor")),
        ranges: vec![MappedRange {
            start: 0x1000,
            end: 0x1000 + code,
            file_offset: 0,
            executable: true,
        }],
        ..own_module(PathBuf::new(), a_function_to_look_for as *const () as u64).0
    };
    let modules = vec![
        module(0, "/usr/lib/jvm/libjvm.so", 16 << 20),
        module(1, "/usr/lib/libsmall.so", 64 << 10),
    ];
    let modules = ModuleTable::from_modules(modules);
    let frames = [0, 1].map(|module| Frame::Native {
        module: ModuleId(module),
        offset: 0x10,
    });
    let stack = Stack {
        frames: frames.to_vec(),
        end: StackEnd::Root,
    };
    let mut native = NativeNames::default();
    for _ in 0..2 {
        native.resolve([&stack], &modules);
    }
    let notes = native.notes(&modules);
    assert_eq!(notes.len(), 1, "{notes:?}");
    let start = "no debug information for libjvm.so (exported functions only): ";
    assert!(notes[0].starts_with(start), "{notes:?}");
}

fn own_file() -> Arc<File> {
    Arc::new(File::open("/proc/self/exe").expect("our own binary"))
}

/// Proves that Java frames, stubs, unknown code and markers keep their kind, place and reason, and are counted.
#[test]
fn every_kind_of_frame_is_kept() {
    let java = |kind, line| Frame::Java {
        kind,
        method: MethodId(0),
        line,
    };
    let frames = vec![
        java(JavaKind::Native, 0),
        java(JavaKind::Inlined, 203),
        java(JavaKind::C2, 42),
        java(JavaKind::C1, 17),
        java(JavaKind::Interpreted, 9),
        Frame::Java {
            kind: JavaKind::C2,
            method: MethodId(7),
            line: 1,
        },
        Frame::Stub {
            name: "StubRoutines (1)\x07".into(),
        },
        Frame::Unknown {
            address: 1,
            reason: UnknownReason::NotMapped,
        },
        Frame::Marker(Marker::ResumedAtAnchor),
        Frame::Marker(Marker::Truncated),
    ];
    let method = JavaMethod {
        class: "com.acme.Zip".to_owned(),
        name: "open".to_owned(),
        signature: "()V".to_owned(),
        source_file: Some("Zip.java".to_owned()),
    };
    let stack = named(frames, Vec::new(), vec![method]);
    use FrameKind::{C1, C2, Inlined, Interpreted, Native, Stub, Unknown};
    let kinds: Vec<_> = stack.frames.iter().map(|frame| frame.kind).collect();
    assert_eq!(
        kinds,
        [
            Native,
            Inlined,
            C2,
            C1,
            Interpreted,
            Unknown,
            Stub,
            Unknown,
            Unknown,
            Unknown
        ]
    );
    assert_eq!(stack.frames[1].name, "com.acme.Zip.open");
    assert_eq!(
        (stack.frames[1].file.as_deref(), stack.frames[1].line),
        (Some("Zip.java"), Some(203))
    );
    assert_eq!(stack.frames[0].line, None);
    assert_eq!(stack.frames[6].name, "StubRoutines (1)_");
    assert_eq!(stack.frames[9].reason.as_deref(), Some("truncated"));
    assert_eq!((stack.symbolized, stack.total), (6, 8));
}

/// Proves that code of another JIT compiler is named where the target wrote its names down.
#[test]
fn perf_maps_name_anonymous_code() {
    let map =
        PerfMap::parse("perf-7.map", &b"1000 100 js:main\n"[..]).expect("reading from memory");
    let named = unknown_code(0x1010, UnknownReason::AnonymousCode, Some(&map));
    assert_eq!(
        (named.name.as_str(), named.module.as_deref()),
        ("js:main", Some("perf-7.map"))
    );
    assert_eq!(
        unknown_code(0x1010, UnknownReason::NotMapped, Some(&map)).name,
        "[not mapped]"
    );
    assert_eq!(
        unknown_code(0x2000, UnknownReason::AnonymousCode, Some(&map)).kind,
        FrameKind::Unknown
    );
}

fn native(names: &[(&str, &str)]) -> Vec<Arc<capture::Frame>> {
    let frame = |(name, module): &(&str, &str)| capture::Frame {
        kind: FrameKind::Native,
        module: Some((*module).to_owned()),
        reason: None,
        ..unknown(name, "")
    };
    names.iter().map(frame).map(Arc::new).collect()
}

/// Proves that mappings are told apart by the frames nearest to the leaf.
#[test]
fn mappings_have_owners() {
    let (libc, libjvm) = ("libc.so.6", "libjvm.so");
    let cases = [
        (
            vec![
                ("mmap", libc),
                ("sysmalloc", libc),
                ("_int_malloc", libc),
                ("os::malloc", libjvm),
            ],
            Owner::Allocator,
        ),
        (
            vec![
                ("__mmap", libc),
                ("new_heap", libc),
                ("arena_get2.part.0", libc),
                ("main", "app"),
            ],
            Owner::Allocator,
        ),
        (
            vec![
                ("mmap", libc),
                ("[x+0x1]", "libjemalloc.so.2"),
                ("f", "app"),
            ],
            Owner::Allocator,
        ),
        (
            vec![("mmap", libc), ("je_pages_map", "librocksdbjni.so")],
            Owner::Allocator,
        ),
        (
            vec![
                ("mmap64", libc),
                ("pthread_create@@GLIBC_2.34", libc),
                ("os::create_thread", libjvm),
            ],
            Owner::ThreadStack,
        ),
        (
            vec![
                ("mmap", libc),
                ("allocate_stack", libc),
                ("os::commit_memory", libjvm),
            ],
            Owner::ThreadStack,
        ),
        (
            vec![
                ("mmap", libc),
                ("os::pd_commit_memory", libjvm),
                ("G1::expand", libjvm),
            ],
            Owner::Jvm,
        ),
        (vec![("mmap", libc), ("anon_mmap", libjvm)], Owner::Jvm),
        (
            vec![
                ("__GI___mmap64", libc),
                ("__GI___libc_malloc", libc),
                ("f", "app"),
            ],
            Owner::Allocator,
        ),
        (
            vec![
                ("mmap", libc),
                ("sysmalloc.constprop.0", libc),
                ("f", "app"),
            ],
            Owner::Allocator,
        ),
        (
            vec![("mmap", libc), ("commit_memory", "libother.so")],
            Owner::Other,
        ),
        (
            vec![
                ("mmap", libc),
                ("Java_sun_nio_ch_FileChannelImpl_map0", "libnio.so"),
            ],
            Owner::Other,
        ),
        (vec![], Owner::Other),
    ];
    for (names, expected) in cases {
        let mut frames = native(&names);
        if let Some(frame) = frames.iter_mut().find(|frame| frame.name.starts_with('[')) {
            Arc::make_mut(frame).kind = FrameKind::Unknown;
        }
        assert_eq!(owner(&frames), expected, "{names:?}");
    }
}

/// Proves that a Java method called `malloc` is no allocator.
#[test]
fn java_names_do_not_decide() {
    let mut frames = native(&[("mmap", "libc.so.6"), ("malloc", "x")]);
    Arc::make_mut(&mut frames[1]).module = None;
    assert_eq!(owner(&frames), Owner::Other);
}
