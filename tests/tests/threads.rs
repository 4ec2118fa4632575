//! Sites by thread: `--threads` calls each thread what the JVM calls it.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::time::Duration;

use offheap::capture::{Capture, SiteKind};
use offheap_tests::checks::describe;
use offheap_tests::jdk::Jdk;
use offheap_tests::session::is_full;
use offheap_tests::{
    CFlags, Target, Tool, assert_truth, c_program, classpath, session, sites_through,
};

const BY_THREAD: [&str; 5] = ["--hooks", "malloc", "--sample-bytes", "0", "--threads"];
/// The tool looks at what came in within 100 ms; a thread that lives for so long has been looked at.
const LOOKED_AT: Duration = Duration::from_millis(500);

const HEAPS: [&[&str]; 8] = [
    &["-XX:+UseG1GC"],
    &["-XX:+UseSerialGC"],
    &["-XX:+UseParallelGC"],
    &["-XX:+UseSerialGC", "-XX:-UseCompressedOops"],
    &[
        "-XX:+UseG1GC",
        "-XX:-UseCompressedClassPointers",
        "-XX:-UseCompressedOops",
    ],
    &["-XX:+UnlockExperimentalVMOptions", "-XX:+UseZGC"],
    &[
        "-XX:+UnlockExperimentalVMOptions",
        "-XX:+UseZGC",
        "-XX:+ZGenerational",
    ],
    &[
        "-XX:+UnlockExperimentalVMOptions",
        "-XX:+UseCompactObjectHeaders",
    ],
];

/// The thread that took a block of a size, as the capture calls it, by what the JVM calls it.
fn run(jdk: &Jdk, flags: &[&str], arguments: &[&str]) -> Option<Vec<(String, String)>> {
    let classpath = classpath()?;
    let mut target = Target::start(jdk.java(&classpath, flags, "Threads").args(arguments));
    let tool = Tool::capture(target.pid(), &BY_THREAD);
    target.say("go");
    target.await_word("taken");
    std::thread::sleep(LOOKED_AT);
    target.say("on");
    let mut told = HashMap::new();
    for _ in 0..threads(jdk) {
        let line = target.await_value("thread ");
        let (size, name) = line.split_once(' ').expect("a size and a name");
        told.insert(size.parse::<u64>().expect("a size"), name.to_owned());
    }
    target.await_word("done");
    let capture = tool.finish();
    Some(
        told.into_iter()
            .map(|(size, name)| (name, called(&capture, size)))
            .collect(),
    )
}

/// Those of `targets.Threads`; one of them is virtual.
fn threads(jdk: &Jdk) -> usize {
    if jdk.release >= 21 { 10 } else { 9 }
}

fn called(capture: &Capture, size: u64) -> String {
    let mut sites = sites_through(capture, SiteKind::Malloc, "targets.Threads.take");
    sites.retain(|site| site.allocated_bytes == size && site.allocated_count == 1);
    assert_eq!(sites.len(), 1, "{size} bytes\n{}", describe(capture));
    sites[0].thread.clone().expect("sites are split by thread")
}

/// Names end with the id of the thread; a carrier of virtual threads says so.
fn is_right(name: &str, called: &str) -> bool {
    let text = called.rsplit_once(" (").map_or(called, |(text, _)| text);
    match name {
        "[carrier]" => text.starts_with("ForkJoinPool-") && text.ends_with(" [carrier]"),
        name => text == name,
    }
}

/// JDKs and heaps. A usual run takes one heap of each JDK and each heap of the newest.
fn rows(heaps: &[&'static [&'static str]]) -> Vec<(Jdk, &'static [&'static str])> {
    let jdks = Jdk::downloaded();
    let newest = jdks.iter().map(|jdk| jdk.release).max();
    let mut rows = Vec::new();
    for jdk in jdks {
        let all = is_full() || Some(jdk.release) == newest;
        let of_jdk = heaps.iter().filter(|flags| jdk.has(flags));
        let wanted = if all { heaps.len() } else { 1 };
        rows.extend(of_jdk.take(wanted).map(|flags| (jdk.clone(), *flags)));
    }
    rows
}

/// On every JDK and with every collector each block stands under the name that its thread has in Java: long ones in
/// full, in any script, of the main thread, of renamed threads and of one that has ended; carriers say that they are.
#[test]
fn java_names() {
    let Some(_session) = session() else { return };
    let mut faults = Vec::new();
    for (jdk, flags) in rows(&HEAPS) {
        let Some(names) = run(&jdk, flags, &[]) else {
            return;
        };
        let wrong: Vec<_> = names
            .iter()
            .filter(|(name, called)| !is_right(name, called))
            .collect();
        println!(
            "{jdk} {flags:?}: {} of {} right",
            names.len() - wrong.len(),
            names.len()
        );
        faults.extend(
            wrong
                .iter()
                .map(|(name, called)| format!("{jdk} {flags:?}: {name:?} is called {called:?}")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The kernel's name of a thread of `targets.Threads`: the beginning, or both ends, of what it was called when it started;
/// of one that has attached itself, the program's.
fn is_the_kernels(name: &str, called: &str) -> bool {
    let text = called.rsplit_once(" (").map_or(called, |(text, _)| text);
    let starts = [
        name,
        "java",
        "before it renamed itself",
        "before another renamed it",
        "ForkJoinPool-1-worker-1",
    ];
    let head = text.split(['\u{fffd}', '.']).next().unwrap_or_default();
    !head.is_empty() && starts.iter().any(|start| start.starts_with(head))
}

/// While the collector moves objects all the time, a thread has its Java name, or the kernel's where that could not be
/// read: never another text of the heap.
#[test]
fn names_while_objects_move() {
    let Some(_session) = session() else { return };
    let mut moving = HEAPS.to_vec();
    moving.retain(|flags| flags.len() < 3 && !flags.contains(&"-XX:+UseParallelGC"));
    for (jdk, flags) in rows(&moving) {
        let Some(names) = run(&jdk, flags, &["garbage"]) else {
            return;
        };
        let right = names
            .iter()
            .filter(|(name, called)| is_right(name, called))
            .count();
        println!("{jdk} {flags:?}: {right} of {} right", names.len());
        for (name, called) in &names {
            assert!(
                is_right(name, called) || is_the_kernels(name, called),
                "{jdk} {flags:?}: {name:?} is called {called:?}"
            );
        }
    }
}

/// A thousand threads that end before anybody can look at them are as many sites, exact in sum, each under its own name.
#[test]
fn short_lived_threads() {
    let Some(_session) = session() else { return };
    let program = c_program("short_threads", CFlags::default());
    let mut target = Target::start(&mut Command::new(program));
    let (capture, truths) = target.captured(&BY_THREAD);
    assert_truth(&capture, &truths);
    let sites = sites_through(&capture, SiteKind::Malloc, "at_short_thread");
    let threads: HashSet<&str> = sites
        .iter()
        .filter_map(|site| site.thread.as_deref())
        .collect();
    assert_eq!((sites.len(), threads.len()), (1000, 1000));
    let named = threads.iter().filter_map(|thread| thread.split(' ').next());
    let names: HashSet<&str> = named.filter(|name| name.starts_with("worker-")).collect();
    assert_eq!(names.len(), 1000, "each has its own name: {threads:?}");
}
