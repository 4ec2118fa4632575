//! Native code that states no unwind information: a walk goes on at the JVM's last Java frame and marks the gap, or ends
//! and says where.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use offheap::capture::{Capture, EndPlace, Site, SiteKind};
use offheap_tests::checks::{describe, stack};
use offheap_tests::jdk::Jdk;
use offheap_tests::session::{is_full, lacks_program, skip};
use offheap_tests::sources::{jni_includes, musl_specs};
use offheap_tests::{
    CFlags, Target, Tool, assert_conserved, assert_exact, assert_frames_in_order, assert_rooted,
    c_library, c_program, classpath, session, sites_through,
};

const EXACT: [&str; 4] = ["--hooks", "malloc", "--sample-bytes", "0"];
/// Stands in a stack for native frames that could not be walked.
const GAP: &str = "[native frames missing]";
/// Of `targets.Resync`.
const CASES: usize = 6;
/// The programs are told of a new thread's note within this time, also on a busy machine: the JVM's threads are listed each
/// half second, and at the first stack of an unknown thread. What it allocates before can be walked no further than its
/// native code, once it has left that.
const TOLD: Duration = Duration::from_secs(3);
/// The compiler states no unwind information.
const NO_CFI: [&str; 4] = [
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fno-exceptions",
    "-fomit-frame-pointer",
];

/// The library of `targets.Resync`; None, with the reason printed, where there is no `jni.h`.
fn library(strip: &[&str]) -> Option<PathBuf> {
    let Some(includes) = jni_includes() else {
        skip("jni.h of the JDK");
        return None;
    };
    let includes = includes.iter().map(String::as_str);
    let compile: Vec<&str> = includes.chain(NO_CFI).collect();
    Some(c_library(
        "nocfi",
        CFlags {
            compile: &compile,
            link: strip,
        },
    ))
}

/// A command that runs `targets.Resync`; None, with the reason printed, where something is missing here.
fn java(jdk: &Jdk, flags: &[&str], strip: &[&str]) -> Option<Command> {
    let (classpath, library) = (classpath()?, library(strip)?);
    let mut java = jdk.java(&classpath, flags, "Resync");
    java.arg(library);
    Some(java)
}

/// The capture of one run, and the size of each case. The target is the process that is `below` times a child of the one
/// that `command` starts.
fn run(command: &mut Command, below: usize) -> (Capture, HashMap<String, u64>) {
    let mut target = Target::start(command);
    let pid = (0..below).fold(target.pid(), |pid, _| only_child(pid));
    let tool = Tool::capture(pid, &EXACT);
    target.say("go");
    let mut sizes = HashMap::new();
    for case in 0..CASES {
        if case == CASES - 1 {
            target.await_word("attached");
            std::thread::sleep(TOLD);
            target.say("on");
        }
        let line = target.await_value("case ");
        let (name, size) = line.split_once(' ').expect("a name and a size");
        sizes.insert(name.to_owned(), size.parse().expect("a size"));
    }
    target.await_word("done");
    (tool.finish(), sizes)
}

fn only_child(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .expect("proc of an own child");
    children
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("one child of {pid}, not {children:?}"))
}

fn only_site(capture: &Capture, size: u64) -> &Site {
    let is_it = |site: &&Site| {
        site.kind == SiteKind::Malloc && site.allocated_bytes == size && site.allocated_count == 1
    };
    let sites: Vec<&Site> = capture.sites.iter().filter(is_it).collect();
    assert_eq!(sites.len(), 1, "{size} bytes\n{}", describe(capture));
    sites[0]
}

fn gaps(site: &Site) -> usize {
    let gaps = site.frames.iter().filter(|frame| frame.name == GAP);
    gaps.count()
}

/// What was found by hand for each case: frames in order, how many gaps, and whether the stack reaches the root.
fn assert_cases(capture: &Capture, sizes: &HashMap<String, u64>) {
    let take = [GAP, "targets.Resync.take", "targets.Resync.plain"];
    let through = [GAP, "targets.Resync.through"];
    let main = ["targets.Resync.main"];
    let cases: [(&str, Vec<&str>, usize, bool); CASES] = [
        ("plain", [&take[..], &main].concat(), 1, true),
        (
            "odd",
            [
                &[GAP, "targets.Resync.takeOdd", "targets.Resync.odd"][..],
                &main,
            ]
            .concat(),
            1,
            true,
        ),
        (
            "nested",
            [&take[..], &through, &["targets.Resync.nested"], &main].concat(),
            2,
            true,
        ),
        (
            "thrice",
            [
                &take[..],
                &through,
                &through,
                &["targets.Resync.thrice"],
                &main,
            ]
            .concat(),
            3,
            true,
        ),
        ("attached", vec![], 0, false),
        ("fromAttached", take.to_vec(), 1, false),
    ];
    for (name, frames, gaps_expected, is_rooted) in cases {
        let site = only_site(capture, sizes[name]);
        assert_frames_in_order(site, &frames);
        assert_eq!(gaps(site), gaps_expected, "{name}\n{}", stack(site));
        match is_rooted {
            true => assert_rooted(site),
            false => assert_eq!(site.stack_end, "no-unwind-info", "{name}\n{}", stack(site)),
        }
    }
}

/// Stacks end without unwind information in the file `name` and nowhere else, and in the function `at` among others.
fn assert_ends_in(capture: &Capture, name: &str, at: &str) {
    let all = capture.completeness.ended_at.iter();
    let ended: Vec<&EndPlace> = all.filter(|ended| ended.end == "no-unwind-info").collect();
    let is_there = |ended: &&EndPlace| {
        let module = ended.place.module.as_deref();
        ended.place.address.is_some() && module.is_some_and(|module| module.ends_with(name))
    };
    assert!(ended.iter().all(is_there), "{ended:#?}");
    let is_at = |ended: &&EndPlace| ended.place.name.contains(at);
    assert!(ended.iter().any(is_at), "{at} in {ended:#?}");
    let listed: u64 = ended.iter().map(|ended| ended.count).sum();
    assert!(
        listed <= capture.completeness.ends["no-unwind-info"],
        "{ended:#?}"
    );
}

/// No walk that passed into Java by itself contradicts the JVM, and some were compared.
fn assert_compared(capture: &Capture) {
    let anchors = capture.completeness.anchors.as_ref().expect("a JVM");
    assert!(anchors.agreed > 0, "{anchors:#?}");
    assert_eq!(anchors.violated, 0, "{anchors:#?}");
}

/// Below JNI libraries without unwind information, stripped and in assembly, all Java frames are there down to the root,
/// also of calls from C back into Java, and each gap is marked; threads whose root can't be left end there, and the
/// report names the file.
#[test]
fn java_above_code_without_unwind_information() {
    let Some(_session) = session() else { return };
    for (index, jdk) in Jdk::downloaded().iter().enumerate() {
        for flags in [&[][..], &["-Xint"], &["-XX:TieredStopAtLevel=1"]] {
            for strip in [&[][..], &["-s"]] {
                // A usual run has each flag and each library once, and each JDK.
                let usual = flags.is_empty() && strip.is_empty();
                let first = index == 0 && (flags.is_empty() || strip.is_empty());
                if !is_full() && !usual && !first {
                    continue;
                }
                let Some(mut java) = java(jdk, flags, strip) else {
                    return;
                };
                let (capture, sizes) = run(&mut java, 0);
                println!(
                    "{jdk} {flags:?} {strip:?}: {:?}",
                    capture.completeness.anchors
                );
                assert_cases(&capture, &sizes);
                // Stripped, the functions that are not exported have no names.
                let at = if strip.is_empty() {
                    "attached_root"
                } else {
                    ""
                };
                assert_ends_in(&capture, "libnocfi.so", at);
                assert_compared(&capture);
            }
        }
    }
}

/// A native program without unwind information ends its stacks in its own code, and the report names file and address.
#[test]
fn a_program_without_unwind_information() {
    let Some(_session) = session() else { return };
    let program = c_program(
        "nocfi_main",
        CFlags {
            compile: &NO_CFI,
            link: &[],
        },
    );
    let mut target = Target::start(&mut Command::new(&program));
    let tool = Tool::capture(target.pid(), &EXACT);
    let truths = target.work();
    let finished = tool.interrupted();
    let capture = finished.capture();
    assert_exact(&capture, SiteKind::Malloc, "outermost", &truths);
    assert_ends_in(&capture, "nocfi_main", "outermost");
    let said = finished.stdout.iter().any(|line| {
        line.contains("1 no-unwind-info in outermost at") && line.contains("nocfi_main+0x")
    });
    assert!(said, "{:#?}", finished.stdout);
    assert_conserved(&capture);
}

/// Unwind information that is there and wrong leads past a Java frame to a stack that looks whole. The JVM's own note
/// contradicts it, and the report names the code.
#[test]
#[cfg(target_arch = "x86_64")]
fn wrong_unwind_information_is_contradicted() {
    let Some(_session) = session() else { return };
    for jdk in Jdk::downloaded() {
        let Some(classpath) = classpath() else { return };
        let library = c_library("wrongcfi", CFlags::default());
        let mut java = jdk.java(&classpath, &["-Xint"], "Resync");
        let mut target = Target::start(java.arg(library).arg("wrong"));
        let tool = Tool::capture(target.pid(), &EXACT);
        target.say("go");
        let case = target.await_value("case wrong ");
        target.await_word("done");
        let finished = tool.interrupted();
        let capture = finished.capture();
        let site = only_site(&capture, case.parse().expect("a size"));
        assert_frames_in_order(site, &["targets.Resync.wrong", "targets.Resync.main"]);
        assert_rooted(site);
        let anchors = capture.completeness.anchors.as_ref().expect("a JVM");
        let places: Vec<_> = anchors
            .violations
            .iter()
            .map(|found| &found.place)
            .collect();
        assert_eq!((anchors.violated, places.len()), (1, 1), "{anchors:#?}");
        assert_eq!(places[0].name, "Java_targets_Resync_takeWrong");
        let said = finished.stdout.iter().any(|line| {
            line.contains("1 contradicted: the walk out of Java_targets_Resync_takeWrong at")
                && line.contains("libwrongcfi.so+0x")
        });
        assert!(said, "{jdk}: {:#?}", finished.stdout);
    }
}

/// Java frames above such code are also there in a pid namespace of the JVM's own, and in one within another: the JVM knows
/// its threads by the innermost of their ids, and their notes are found by those.
#[test]
fn java_in_other_pid_namespaces() {
    if lacks_program("unshare") {
        return;
    }
    let Some(_session) = session() else { return };
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    for (index, jdk) in Jdk::downloaded().iter().enumerate() {
        for levels in [1, 2] {
            // A usual run has one level on one JDK, two on the next, and so on.
            if !is_full() && levels != 1 + index % 2 {
                continue;
            }
            let Some(java) = java(jdk, &[], &[]) else {
                return;
            };
            let words: Vec<&str> = (0..levels).flat_map(|_| unshare).collect();
            let mut command = Command::new(words[0]);
            command
                .args(&words[1..])
                .arg(java.get_program())
                .args(java.get_args());
            let (capture, sizes) = run(&mut command, levels);
            println!("{jdk} {levels} levels: {:?}", capture.completeness.anchors);
            assert_cases(&capture, &sizes);
            assert_ends_in(&capture, "libnocfi.so", "attached_root");
            assert_compared(&capture);
        }
    }
}

/// A program linked with musl, shared and static, is exact, and its stacks have all frames of the program. They end where
/// musl has called it: musl states no unwind information for itself, and the report says so.
#[test]
fn musl() {
    let Some(specs) = musl_specs() else { return };
    let Some(_session) = session() else { return };
    let link = format!("-specs={}", specs.display());
    let folder = specs.parent().expect("a folder");
    for (kind, file, at) in [
        ("-static", "reuse", "libc_start_main"),
        ("-no-pie", "libc.so", "libc.so+0x"),
    ] {
        let program = c_program(
            "reuse",
            CFlags {
                compile: &[&link, kind],
                link: &[],
            },
        );
        // Debian's musl looks for libraries where glibc's linker script is, too.
        let mut target = Target::start(Command::new(program).env("LD_LIBRARY_PATH", folder));
        let (capture, truths) = target.captured(&EXACT);
        assert_exact(&capture, SiteKind::Malloc, "work", &truths);
        for site in sites_through(&capture, SiteKind::Malloc, "work") {
            assert_frames_in_order(site, &["malloc", "work", "main"]);
        }
        assert_ends_in(&capture, file, at);
    }
}
