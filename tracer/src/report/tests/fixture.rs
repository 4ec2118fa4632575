//! Captures written down by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::course;
use crate::capture::*;

pub fn frame(
    name: &str,
    kind: FrameKind,
    module: Option<&str>,
    place: Option<(&str, u32)>,
) -> Arc<Frame> {
    Arc::new(Frame {
        name: name.to_owned(),
        kind,
        module: module.map(str::to_owned),
        file: place.map(|(file, _)| file.to_owned()),
        line: place.map(|(_, line)| line),
        reason: None,
    })
}

/// The stack of a Deflater that `com.acme.GzipHandler.handle` opens, from the zlib function or an allocator below it.
pub fn deflater_stack(below: &[&str]) -> Vec<Arc<Frame>> {
    let native = |name: &&str| {
        let module = if matches!(*name, "malloc" | "mmap") {
            "libc.so.6"
        } else {
            "libz.so.1.2.13"
        };
        frame(name, FrameKind::Native, Some(module), None)
    };
    let mut frames: Vec<Arc<Frame>> = below.iter().map(native).collect();
    frames.extend([
        frame(
            "Java_java_util_zip_Deflater_init",
            FrameKind::Native,
            Some("libzip.so"),
            None,
        ),
        frame("java.util.zip.Deflater.init", FrameKind::Native, None, None),
        frame(
            "java.util.zip.Deflater.<init>",
            FrameKind::Inlined,
            None,
            Some(("Deflater.java", 203)),
        ),
        frame(
            "com.acme.GzipHandler.handle",
            FrameKind::C2,
            None,
            Some(("GzipHandler.java", 42)),
        ),
        frame(
            "com.acme.Server.run",
            FrameKind::Interpreted,
            None,
            Some(("Server.java", 17)),
        ),
        frame(
            "java.lang.Thread.run",
            FrameKind::C1,
            None,
            Some(("Thread.java", 840)),
        ),
        frame("StubRoutines (1)", FrameKind::Stub, None, None),
        frame(
            "JavaCalls::call_helper",
            FrameKind::Native,
            Some("libjvm.so"),
            None,
        ),
        frame("start_thread", FrameKind::Native, Some("libc.so.6"), None),
    ]);
    frames
}

pub fn site(kind: SiteKind, bytes: u64, count: u64, frames: Vec<Arc<Frame>>) -> Site {
    Site {
        pair: None,
        thread: None,
        growth_bytes: None,
        kind,
        estimated: false,
        outstanding_bytes: bytes,
        outstanding_count: count,
        recorded_bytes: bytes,
        recorded_count: count,
        allocated_bytes: bytes.saturating_mul(2),
        allocated_count: count.saturating_mul(2),
        oldest_seconds: 29.8,
        newest_seconds: 0.1,
        freed_by_cleaner: 0,
        freed_count: count,
        owner: None,
        reserved_bytes: 0,
        blocks: 0,
        stack_end: "root".to_owned(),
        series: None,
        trend: None,
        ages: None,
        frames,
    }
}

pub fn function(group: &str, name: &str, file: &str, offset: u64, instruction: &str) -> Function {
    Function {
        name: name.to_owned(),
        group: group.to_owned(),
        file: file.to_owned(),
        build_id: Some("5a3f6d".to_owned()),
        offset,
        instruction: instruction.to_owned(),
        emulated: instruction.starts_with("push") || instruction.starts_with('j'),
        seen: 2_408,
        recorded: 2_408,
        ..Function::default()
    }
}

fn modules() -> Vec<Module> {
    let module = |name: &str, build_id: Option<&str>| Module {
        name: name.to_owned(),
        path: format!("/usr/lib/x86_64-linux-gnu/{name}"),
        build_id: build_id.map(str::to_owned),
    };
    vec![
        module(
            "libc.so.6",
            Some("82ce4e6e4ef08fa58a3535f7437bd3e592db5ac0"),
        ),
        module("libjvm.so", None),
        module("libz.so.1.2.13", Some("5a3f6d")),
    ]
}

/// A capture with nothing in it.
pub fn empty() -> Capture {
    Capture {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            version: "0.1.0".to_owned(),
        },
        host: Host {
            kernel: "6.18.5".to_owned(),
            arch: "x86_64".to_owned(),
        },
        target: Target {
            pid: 4242,
            comm: "java".to_owned(),
            cmdline: vec![
                "java".to_owned(),
                "-Xmx2g".to_owned(),
                "com.acme.Main".to_owned(),
            ],
            jvm: Some(Jvm {
                name: "OpenJDK 64-Bit Server VM".to_owned(),
                version: "17.0.15+6".to_owned(),
                unsupported: None,
            }),
            ended: false,
            start_ticks: 0,
            oom_kill: None,
        },
        window: Window {
            start: "2026-01-02T03:04:05Z".to_owned(),
            end: "2026-01-02T03:04:35Z".to_owned(),
            seconds: 30.0,
        },
        settings: Settings {
            hooks: ["zlib", "mmap", "malloc"].map(str::to_owned).to_vec(),
            sample_bytes: 524_288,
            stack_bytes: 65_536,
            ..Settings::default()
        },
        functions: Vec::new(),
        modules: Vec::new(),
        sites: Vec::new(),
        losses: BTreeMap::new(),
        completeness: Completeness::default(),
        memory: Memory {
            rss_start: 1 << 30,
            rss_end: 1 << 30,
            outstanding_bytes: 0,
            ..Memory::default()
        },
        tracer: Tracer::default(),
        notes: Vec::new(),
        series: None,
    }
}

/// A server that forgets Deflaters, leaves Inflaters to the cleaner and has native memory of other kinds.
pub fn server() -> Capture {
    let mut capture = empty();
    capture.sites = vec![
        deflaters(),
        deflater_blocks(),
        inflaters(),
        rocksdb(),
        jvm_heap(),
        arena(),
        lost(),
    ];
    capture.functions = functions();
    capture.modules = modules();
    capture.losses = BTreeMap::from([
        ("ring-full".to_owned(), 12),
        ("in-flight-full".to_owned(), 0),
    ]);
    capture.completeness = Completeness {
        stacks: 12_345,
        complete: 12_300,
        symbolized_frames: 123_000,
        frames: 123_456,
        ends: BTreeMap::from([("truncated".to_owned(), 33), ("lost".to_owned(), 12)]),
        ended_at: vec![EndPlace {
            end: "truncated".to_owned(),
            place: Place {
                name: "com.acme.Parser.descend".to_owned(),
                module: None,
                address: None,
            },
            count: 33,
        }],
        anchors: Some(Anchors {
            checked: 9_876,
            agreed: 9_800,
            unknown: 75,
            violated: 1,
            violations: vec![Violation {
                place: Place {
                    name: "acme_compress".to_owned(),
                    module: Some("/opt/acme/libacme.so".to_owned()),
                    address: Some(0x1139),
                },
                count: 1,
            }],
        }),
    };
    capture.memory = Memory {
        rss_start: 1 << 30,
        rss_end: (1 << 30) + (400 << 20),
        outstanding_bytes: 0,
        ..Memory::default()
    };
    capture.memory.outstanding_bytes =
        crate::report::accounting::outstanding_bytes(&capture.sites, &capture.settings.hooks);
    capture.tracer = Tracer {
        cpu_seconds: 0.84,
        max_rss: 80 << 20,
        probe_hits: 2_469_134,
        trap_ns: Some(TrapCost {
            emulated: 560.0,
            single_step: 9_800.0,
            at_return: 310.0,
        }),
        high_water: BTreeMap::from([(
            "LIVE".to_owned(),
            Fill {
                used: 12_000,
                capacity: 1_048_576,
            },
        )]),
        first_probe_ms: 120.0,
        all_probes_ms: 310.0,
        detach_ms: Some(57.0),
        budget: Budget {
            percent: Some(5.0),
            peak_percent: 3.2,
            program_seconds: 0.25,
            watched: vec![Watched {
                group: "malloc".to_owned(),
                from_seconds: 0.0,
                until_seconds: None,
            }],
            steps: Vec::new(),
        },
    };
    capture.notes = vec![
        "libnetty_tcnative.so was mapped 4 s after the attach; what it did before is missing"
            .to_owned(),
    ];
    capture
}

fn deflaters() -> Site {
    let mut site = site(
        SiteKind::Deflate,
        322_922_432,
        1_204,
        deflater_stack(&["deflateInit2_"]),
    );
    site.estimated = true;
    site.blocks = 7_224;
    site
}

fn deflater_blocks() -> Site {
    let mut site = site(
        SiteKind::Malloc,
        322_961_408,
        7_180,
        deflater_stack(&["malloc", "zcalloc", "deflateInit2_"]),
    );
    site.estimated = true;
    site
}

fn inflaters() -> Site {
    let frames = vec![
        frame(
            "inflateInit2_",
            FrameKind::Native,
            Some("libz.so.1.2.13"),
            None,
        ),
        frame("java.util.zip.Inflater.init", FrameKind::Native, None, None),
        frame(
            "com.acme.Unzip.open",
            FrameKind::C1,
            None,
            Some(("Unzip.java", 9)),
        ),
        frame(
            "java.lang.Thread.run",
            FrameKind::C1,
            None,
            Some(("Thread.java", 840)),
        ),
    ];
    let mut site = site(SiteKind::Inflate, 0, 0, frames);
    (
        site.allocated_count,
        site.freed_count,
        site.freed_by_cleaner,
    ) = (17, 17, 17);
    site
}

fn rocksdb() -> Site {
    let frames = vec![
        frame("malloc", FrameKind::Native, Some("libc.so.6"), None),
        frame(
            "operator new",
            FrameKind::Native,
            Some("libstdc++.so.6.0.30"),
            None,
        ),
        frame(
            "rocksdb::Arena::AllocateNewBlock",
            FrameKind::Native,
            Some("librocksdbjni.so"),
            Some(("arena.cc", 214)),
        ),
        frame("org.rocksdb.RocksDB.put", FrameKind::Native, None, None),
        frame(
            "com.acme.State.store",
            FrameKind::C2,
            None,
            Some(("State.java", 77)),
        ),
    ];
    let mut site = site(SiteKind::Malloc, 42_991_616, 41, frames);
    site.estimated = true;
    site
}

fn jvm_heap() -> Site {
    let frames = vec![
        frame("mmap", FrameKind::Native, Some("libc.so.6"), None),
        frame(
            "os::pd_commit_memory",
            FrameKind::Native,
            Some("libjvm.so"),
            None,
        ),
        frame(
            "G1PageBasedVirtualSpace::commit_internal",
            FrameKind::Native,
            Some("libjvm.so"),
            None,
        ),
    ];
    let mut site = site(SiteKind::Mmap, 67_108_864, 16, frames);
    (site.owner, site.reserved_bytes) = (Some(Owner::Jvm), 1 << 31);
    site
}

fn arena() -> Site {
    let mut site = site(
        SiteKind::Mmap,
        134_217_728,
        2,
        deflater_stack(&["mmap", "deflateInit2_"]),
    );
    site.frames.insert(
        1,
        frame("new_heap", FrameKind::Native, Some("libc.so.6"), None),
    );
    site.owner = Some(Owner::Allocator);
    site
}

fn lost() -> Site {
    let mut lost = frame("[stack lost]", FrameKind::Unknown, None, None);
    Arc::make_mut(&mut lost).reason = Some("lost".to_owned());
    let mut site = site(SiteKind::Malloc, 786_432, 12, vec![lost]);
    (site.estimated, site.stack_end) = (true, "lost".to_owned());
    site
}

fn functions() -> Vec<Function> {
    let (libc, libz) = (
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libz.so.1.2.13",
    );
    let mut malloc = function("malloc", "malloc", libc, 0x97e20, "push r12");
    (
        malloc.seen,
        malloc.recorded,
        malloc.unsampled,
        malloc.failed,
    ) = (1_230_000, 7_233, 1_222_766, 1);
    let mut free = function("malloc", "free", libc, 0x98439, "push rbp");
    (free.seen, free.recorded, free.filtered, free.lost) = (1_222_000, 3, 1_221_985, 12);
    let mut munmap = function("mmap", "munmap", libc, 0xf9b30, "mov eax, 0x0b");
    (munmap.seen, munmap.recorded) = (18, 17);
    let mut late = function(
        "zlib",
        "deflateEnd",
        "/opt/app/native lib.so",
        0x1234,
        "je short 0000000000001250h",
    );
    (late.build_id, late.attached_after_seconds) = (None, 4.2);
    vec![
        malloc,
        free,
        munmap,
        function("zlib", "deflateInit2_", libz, 0x5f70, "push r15"),
        function(
            "zlib",
            "deflateEnd",
            libz,
            0x6643,
            "je short 0000000000006680h",
        ),
        late,
    ]
}

/// Names that try to break every output: markup, terminal control, separators, numbers and length.
pub fn hostile() -> Capture {
    let mut capture = empty();
    let names = [
        "<script>alert(1)</script>",
        "]]><svg onload=\"x()\">&amp;--><!--",
        "a;b\n1 2 3",
        "# comment 4096",
        "x 12.5",
        "\x1b]0;owned\x07\x1b[2J",
        "",
        "\u{202e}gnp.exe\u{0}\u{ffff}",
    ];
    let kinds = [
        FrameKind::Native,
        FrameKind::C2,
        FrameKind::C1,
        FrameKind::Interpreted,
        FrameKind::Inlined,
    ];
    let mut frames: Vec<Arc<Frame>> = names
        .iter()
        .zip(kinds.iter().cycle())
        .map(|(name, kind)| {
            frame(
                name,
                *kind,
                Some("lib\x1b[31m<b>.so"),
                Some(("../<i>\n.c", u32::MAX)),
            )
        })
        .collect();
    frames.push(frame(&"long".repeat(5_000), FrameKind::Unknown, None, None));
    let mut hostile = site(SiteKind::Malloc, u64::MAX, u64::MAX, frames.clone());
    (hostile.oldest_seconds, hostile.stack_end) = (1e300, "</svg>;\n".to_owned());
    course::make_hostile_site(&mut hostile);
    frames.reverse();
    capture.sites = vec![
        hostile.clone(),
        site(SiteKind::Mmap, u64::MAX, 1, frames),
        hostile,
    ];
    course::make_hostile(&mut capture);
    capture.target.comm = "</title><script>\x1b[31m".to_owned();
    capture.target.cmdline = vec!["-D\nkey=\x1b[2Jvalue".to_owned()];
    capture.functions = vec![function(
        "malloc",
        "mal\nloc",
        "/lib/\x1b[1mx.so",
        u64::MAX,
        "push \x07",
    )];
    capture.losses = BTreeMap::from([("re\nason".to_owned(), u64::MAX)]);
    capture.tracer.probe_hits = u64::MAX;
    capture
}
