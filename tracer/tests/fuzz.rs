//! The fuzz targets on the committed inputs and a bounded number of changed ones: no panic, no hang, bounded memory.
//!
//! `cargo xtask fuzz` drives the same functions with coverage and without a bound (docs/FUZZING.md).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::abort;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offheap::fuzzing::{TARGETS, Target};

/// What one input may make a target hold, its own copies of recorded JVMs included.
const MAX_HELD: usize = 64 << 20;
/// One input takes milliseconds. A test that takes this long for one is stuck.
const STUCK: Duration = Duration::from_secs(20);
const FIXED_SEED: u64 = 0x0ff_4ea9;
/// The longest input; what is longer than its seed is what inputs are put together from.
const MAX_LEN: usize = 16 << 10;

/// Counts what each thread holds: the targets start no threads.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn grow(size: usize) {
    let held = HELD.get().wrapping_add(size);
    HELD.set(held);
    // What was freed by a thread that had not allocated it wraps around, and is no peak.
    if held < usize::MAX / 2 {
        PEAK.set(PEAK.get().max(held));
    }
}

// SAFETY: hands everything to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// One of `inputs` with up to eight changes.
    fn changed(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(MAX_LEN);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.next() as u8,
            2 => {
                let (start, len) = (at, self.below(16).min(bytes.len() - at));
                bytes.drain(start..start + len);
            }
            3 => {
                const WORDS: [u64; 7] = [0, 1, u64::MAX, 1 << 31, 0xffff_fff0, 1 << 63, 0x1000];
                let word = WORDS[self.below(WORDS.len())].to_le_bytes();
                let len = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&word[..len]);
            }
            4 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                let len = self.below(64).min(other.len() - from);
                bytes.splice(at..at, other[from..from + len].iter().copied());
            }
            5 => bytes.truncate(at),
            _ => {
                let new: Vec<u8> = (0..self.below(24)).map(|_| self.next() as u8).collect();
                bytes.splice(at..at, new);
            }
        }
    }
}

/// Ends the test program when an input takes too long, and says which.
struct Watchdog(Sender<Vec<u8>>);

impl Watchdog {
    fn of(target: &'static str) -> Self {
        let (sender, inputs) = channel::<Vec<u8>>();
        thread::spawn(move || {
            let mut last = Vec::new();
            loop {
                match inputs.recv_timeout(STUCK) {
                    Ok(input) => last = input,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("{target} is stuck on {}", keep(target, &last));
                        abort();
                    }
                }
            }
        });
        Watchdog(sender)
    }
}

/// Writes an input to where `cargo xtask fuzz` leaves those that fail; the path, and what it is in hexadecimal.
fn keep(target: &str, input: &[u8]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
    let path = folder.join(format!("failed-{}", input.len()));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    let hex: String = input
        .iter()
        .take(512)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match written {
        Ok(()) => format!("{} ({hex})", path.display()),
        Err(error) => format!("{hex} (not kept: {error})"),
    }
}

/// Runs one input and says what it came from where that fails.
fn run(target: &Target, input: &[u8], from: &str, watchdog: &Watchdog) {
    watchdog.0.send(input.to_vec()).unwrap();
    let before = HELD.get();
    PEAK.set(before);
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let held = PEAK.get().saturating_sub(before);
    if let Err(panic) = outcome {
        eprintln!(
            "{} fails on {from}: {}",
            target.name,
            keep(target.name, input)
        );
        resume_unwind(panic);
    }
    assert!(
        held <= MAX_HELD,
        "{} holds {held} bytes for {from}: {}",
        target.name,
        keep(target.name, input)
    );
}

/// The committed inputs: where fuzzing begins, and what has once failed.
fn committed(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut inputs = Vec::new();
    for folder in ["seeds", "regressions"] {
        // A target that never failed has no regressions.
        let Ok(files) = fs::read_dir(fuzz.join(folder).join(target)) else {
            continue;
        };
        inputs.extend(files.map(|file| {
            let path = file.unwrap().path();
            (path.clone(), fs::read(path).unwrap())
        }));
    }
    inputs.sort();
    inputs
}

/// Runs the committed inputs and as many changed ones, half of them the same in each run.
fn check(name: &str, changed: usize) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let watchdog = Watchdog::of(target.name);
    let committed = committed(name);
    assert!(!committed.is_empty(), "fuzz/seeds/{name} has no input");
    // What is made once and kept is not held by the first input.
    (target.run)(&[]);
    for (path, input) in &committed {
        run(target, input, &path.display().to_string(), &watchdog);
    }
    let inputs: Vec<_> = committed.into_iter().map(|(_, input)| input).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for seed in [FIXED_SEED, now.as_nanos() as u64] {
        let mut random = Random(seed);
        for index in 0..changed / 2 {
            let input = random.changed(&inputs);
            run(
                target,
                &input,
                &format!("input {index} of seed {seed:#x}"),
                &watchdog,
            );
        }
    }
}

/// Walks over recorded stacks and changed JVM memory end in bounds and with reasons.
#[test]
fn walk() {
    check("walk", 12_000);
}

/// A JVM whose description of itself is changed is detected or refused, and walked in bounds.
#[test]
fn vm_structs() {
    check("vm_structs", 1_000);
}

/// Changed ELF files are read in bounds.
#[test]
fn elf() {
    check("elf", 10_000);
}

/// Changed unwind tables state rules that read nothing but the stack.
#[test]
fn cfi() {
    check("cfi", 20_000);
}

/// Changed debug information gives names in bounds.
#[test]
fn dwarf() {
    check("dwarf", 2_000);
}

/// Changed records of the ring are events or nothing.
#[test]
fn events() {
    check("events", 50_000);
}

/// Changed perf maps give names that can be printed.
#[test]
fn perf_map() {
    check("perf_map", 50_000);
}

/// Changed `smaps` give owners that add up.
#[test]
fn smaps() {
    check("smaps", 5_000);
}

/// Changed files of cgroups give numbers or nothing.
#[test]
fn cgroup() {
    check("cgroup", 20_000);
}

/// Changed perf data gives counters or a reason.
#[test]
fn perf_data() {
    check("perf_data", 10_000);
}

/// Changed arenas of malloc are walked in bounds.
#[test]
fn glibc() {
    check("glibc", 5_000);
}

/// Each target is tested here, and has a binary for coverage-guided fuzzing.
#[test]
fn every_target_is_there() {
    let binaries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let own =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz.rs")).unwrap();
    for target in TARGETS {
        assert!(
            binaries.join(format!("{}.rs", target.name)).exists(),
            "{}",
            target.name
        );
        assert!(
            own.contains(&format!("check(\"{}\", ", target.name)),
            "{}",
            target.name
        );
    }
}

/// The harness itself notices an input that panics, and one that holds too much.
#[test]
fn failures_are_noticed() {
    fn panics(_: &[u8]) {
        panic!("as it should");
    }
    fn holds(_: &[u8]) {
        drop(std::hint::black_box(vec![0_u8; MAX_HELD + 1]));
    }
    for run_it in [panics, holds] {
        let target = Target {
            name: "none",
            run: run_it,
        };
        let watchdog = Watchdog::of("none");
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run(&target, b"input", "nothing", &watchdog)
        }));
        assert!(outcome.is_err());
    }
    let target = Target {
        name: "none",
        run: |_| {},
    };
    run(&target, b"input", "nothing", &Watchdog::of("none"));
}
