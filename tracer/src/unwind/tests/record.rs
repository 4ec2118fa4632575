//! Recording golden fixtures: stacks of each kind of frame, each checked against what the JVM itself says it has there.
//!
//! `cargo xtask record` runs [`every_kind`] on each JDK that it finds and writes `jvm-*.json.gz` anew. Without
//! `OFFHEAP_BLESS=1` the test checks the installed JDK and writes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::stack::{Frame, Marker, MethodTable, Stack, StackEnd};
use crate::target::modules::ModuleTable;
use crate::unwind::fixture::files::FILES;
use crate::unwind::fixture::{Description, Fixture, to_hex};
use crate::unwind::hotspot::code_cache::CodeCache;
use crate::unwind::hotspot::layout::VmLayout;
use crate::unwind::hotspot::vm_structs::VmStructs;
use crate::unwind::hotspot::{is_libjvm, load_bias};
use crate::unwind::memory::{ProcessMemory, Recorder};
use crate::unwind::{Jvm, Unwinder};

use super::fixture::Seen;
use super::stops::{Copy, Stops};
use super::witness::{Case, Jdk, Witness};

/// The ways of `targets.Paths` that are kept, for one kind of frame each; JDKs that lack one do without.
const KEPT: [&str; 16] = [
    "plain",
    "recursion5",
    "lambdas",
    "reflection",
    "methodHandle",
    "fromNative",
    "fromSynchronizedNative",
    "nestedNative",
    "staticInitializer",
    "deoptimized",
    "stream",
    "hotLoop",
    "thread",
    "upcall",
    "virtualThread",
    "parkedVirtualThread",
];
/// By what they take memory: a native method of the JVM's own.
const MEANS: &str = "UNSAFE";
/// Longer copies are of no use here.
const MAX_BYTES: usize = 32 << 10;
/// Text of this length or longer is nobody's frame: what a thread had on its stack before may name files and people.
const MIN_TEXT: usize = 8;

/// How a JVM is run: the fixture's name, flags, and how often each way is gone before.
const MODES: [(&str, &[&str], u32); 3] = [
    (
        "compiled",
        &["-XX:CompileThresholdScaling=0.05", "-Xbatch"],
        100,
    ),
    (
        "client",
        &[
            "-XX:TieredStopAtLevel=1",
            "-XX:CompileThresholdScaling=0.05",
            "-Xbatch",
        ],
        100,
    ),
    ("interpreted", &["-Xint"], 20),
];

/// A JVM with its threads stopped at every malloc that may be one of the witness's.
struct Session {
    modules: ModuleTable,
    unwinder: Unwinder<Recorder<ProcessMemory>>,
    /// What malloc was asked for, and the stack.
    taken: Vec<(u64, Copy)>,
}

impl Session {
    /// Runs the witness to its end; its cases, and the stacks of all of them.
    fn run(witness: &mut Witness) -> Option<(Self, Vec<Case>)> {
        let pid = witness.pid();
        let mut session = Session {
            modules: ModuleTable::default(),
            unwinder: Unwinder::new(Recorder::new(ProcessMemory::open(pid).unwrap())),
            taken: Vec::new(),
        };
        session.look(pid);
        let mut stops = Stops::seize(pid).unwrap();
        stops.all(|_| {}).unwrap();
        if !stops
            .break_at(super::live_jvm::malloc(&session.modules))
            .unwrap()
        {
            println!("skipped: malloc does not begin with a push of an upper register here");
            return None;
        }
        stops.only(Witness::SIZES);
        let cases = witness.go();
        while let Some(stop) = stops.next().unwrap() {
            session.taken.push((stop.argument(), stop.copy()));
            stops.resume(stop).unwrap();
        }
        session.look(pid);
        Some((session, cases.join().unwrap()))
    }

    fn look(&mut self, pid: u32) {
        self.modules.refresh(pid).unwrap();
        self.unwinder.modules_changed(&self.modules);
        assert!(
            matches!(self.unwinder.jvm(), Jvm::Supported(_)),
            "{:?}",
            self.unwinder.jvm()
        );
    }

    /// The stack of `case`, cut to what a walk needs; None where another block had the same size, or it is too long.
    fn stack_of(&mut self, case: &Case) -> Option<Seen> {
        let of_its_size = |(size, _): &&(u64, Copy)| *size == case.bytes;
        let mut taken = self.taken.iter().filter(of_its_size);
        let (Some((_, copy)), None) = (taken.next(), taken.next()) else {
            panic!("not one block has the size of {case:?}");
        };
        let mut copy = copy.clone();
        let walked = self.unwinder.unwind(&self.modules, &copy.capture());
        assert_eq!(walked.end, StackEnd::Root, "{case:?} {walked:?}");
        let captured = java_frames(&walked, self.unwinder.methods());
        assert!(
            agrees(&case.told(), &captured),
            "told {:#?}\ncaptured {captured:#?}",
            case.told()
        );
        copy.bytes.truncate(self.needed(&copy, &walked));
        blank_text(&mut copy.bytes);
        assert_eq!(self.unwinder.unwind(&self.modules, &copy.capture()), walked);
        let (way, told) = (case.path.clone(), shortened(case.told(), &captured));
        (copy.bytes.len() <= MAX_BYTES).then_some(Seen { way, told, copy })
    }

    /// How many bytes of a copy the walk needs.
    fn needed(&mut self, copy: &Copy, walked: &Stack) -> usize {
        let (mut too_few, mut enough) = (0, copy.bytes.len() / 8);
        while too_few + 1 < enough {
            let middle = usize::midpoint(too_few, enough);
            let mut part = copy.clone();
            part.bytes.truncate(8 * middle);
            if self.unwinder.unwind(&self.modules, &part.capture()) == *walked {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        8 * enough
    }

    /// What the JVM says about itself, and what detection reads besides.
    fn description(&self) -> Description {
        let memory = &self.unwinder.memory;
        let libjvm = self
            .modules
            .modules
            .iter()
            .find(|module| is_libjvm(module))
            .unwrap();
        let structs = VmStructs::read(memory, &libjvm.file, load_bias(libjvm).unwrap()).unwrap();
        memory.forget();
        let layout = VmLayout::detect(&structs, memory).unwrap();
        CodeCache::read(memory, &layout.code_cache).unwrap();
        crate::unwind::hotspot::version(&structs, memory, layout.release);
        let mut description = Description {
            sizes: structs.sizes.into_iter().collect(),
            constants: structs.constants.into_iter().collect(),
            memory: hexadecimal(memory),
            ..Description::default()
        };
        for ((class, field), place) in structs.fields {
            let class = description.fields.entry(class).or_default();
            class.insert(field, (place.offset, place.address));
        }
        description
    }
}

pub fn hexadecimal(memory: &Recorder<ProcessMemory>) -> std::collections::BTreeMap<u64, String> {
    let ranges = memory.recorded().ranges;
    ranges
        .iter()
        .map(|(&at, bytes)| (at, to_hex(bytes)))
        .collect()
}

/// Java frames as the JVM tells them, from the witness's on; a gap stands for parked frames.
pub fn java_frames(stack: &Stack, methods: &MethodTable) -> Vec<String> {
    let text = |frame: &Frame| match frame {
        Frame::Java { method, line, .. } => {
            let method = &methods.methods[method.0 as usize];
            Some(format!("{}.{}:{line}", method.class, method.name))
        }
        Frame::Marker(Marker::ParkedVirtualThread) => Some(String::new()),
        _ => None,
    };
    let frames = stack.frames.iter().filter_map(text);
    frames
        .skip_while(|frame| !frame.starts_with("targets.Allocation.by"))
        .collect()
}

/// Whether the frames are those that the JVM tells, or all of them but the parked ones.
pub fn agrees(told: &[String], captured: &[String]) -> bool {
    match captured.iter().position(String::is_empty) {
        None => told == captured,
        Some(gap) => {
            let (before, after) = (&captured[..gap], &captured[gap + 1..]);
            before.len() + after.len() < told.len()
                && !after.is_empty()
                && told.starts_with(before)
                && told.ends_with(after)
        }
    }
}

/// What the JVM told without the parked frames that can't be captured, but one that stands for them.
fn shortened(mut told: Vec<String>, captured: &[String]) -> Vec<String> {
    if let Some(gap) = captured.iter().position(String::is_empty) {
        let after = captured.len() - gap - 1;
        told.drain(gap + 1..told.len() - after);
    }
    told
}

/// Removes text that calls have left on a stack.
fn blank_text(bytes: &mut [u8]) {
    let mut start = 0;
    for at in 0..=bytes.len() {
        if bytes
            .get(at)
            .is_some_and(|byte| (b' '..=b'~').contains(byte))
        {
            continue;
        }
        if at - start >= MIN_TEXT {
            bytes[start..at].fill(0);
        }
        start = at + 1;
    }
}

/// Runs the witness in one mode, checks every case, and gives the fixture of those that are kept.
fn record(jdk: &Jdk, mode: &str, flags: &[&str], rounds: u32) -> Option<Fixture> {
    let mut witness = Witness::start(jdk, flags, rounds)?;
    let (mut session, cases) = Session::run(&mut witness)?;
    let by_means = cases.iter().filter(|case| case.means == MEANS);
    let kept = by_means.filter(|case| KEPT.contains(&case.path.as_str()));
    let seen: Vec<Seen> = kept.filter_map(|case| session.stack_of(case)).collect();
    let ways: BTreeSet<&str> = seen.iter().map(|seen| seen.way.as_str()).collect();
    let expected = KEPT
        .iter()
        .filter(|way| cases.iter().any(|case| case.path == **way));
    let missing: Vec<_> = expected.filter(|way| !ways.contains(**way)).collect();
    assert!(missing.is_empty(), "{jdk} {mode} has no {missing:?}");
    let description = (mode == MODES[0].0).then(|| session.description());
    let fixture = Fixture::record(&session.modules, &mut session.unwinder, &seen, description);
    println!(
        "{jdk} {mode}: {} stacks, {:?}",
        fixture.stacks.len(),
        kinds(&fixture)
    );
    check_kinds(&fixture, mode);
    Some(fixture)
}

/// The kinds of frames in a fixture.
fn kinds(fixture: &Fixture) -> BTreeSet<&str> {
    let frames = fixture.stacks.iter().flat_map(|stack| &stack.frames);
    frames.filter_map(|frame| frame.split(' ').next()).collect()
}

/// A fixture is worth keeping only with the frames that it is there for.
fn check_kinds(fixture: &Fixture, mode: &str) {
    let kinds = kinds(fixture);
    let wanted: &[&str] = match mode {
        "compiled" => &["C2", "Inlined", "Native", "Interpreted", "native", "stub"],
        "client" => &["C1", "Inlined", "Native", "native", "stub"],
        _ => &["Interpreted", "Native", "native", "stub"],
    };
    assert!(
        wanted.iter().all(|kind| kinds.contains(kind)),
        "{mode} has only {kinds:?}"
    );
}

fn write(jdk: &Jdk, mode: &str, fixture: &Fixture) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/unwind/tests");
    let path: PathBuf = folder.join(format!("jvm-{}-{mode}.json.gz", jdk.name()));
    std::fs::write(&path, fixture.to_file()).unwrap();
    println!("wrote {}", path.display());
}

/// Each Java frame of a live JVM is the JVM's own, for each kind of frame; when recording, on each JDK.
#[test]
fn every_kind() {
    let _one = super::live_jvm::one_at_a_time();
    let bless = std::env::var_os("OFFHEAP_BLESS").is_some();
    let jdks = if bless {
        Jdk::all()
    } else {
        Jdk::installed().into_iter().collect()
    };
    if jdks.is_empty() {
        println!("skipped: no JDK on the path");
    }
    for jdk in jdks {
        for (mode, flags, rounds) in MODES {
            match record(&jdk, mode, flags, rounds) {
                Some(fixture) if bless => write(&jdk, mode, &fixture),
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// Every recorded file is one that tests replay.
#[test]
fn all_files_are_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/unwind/tests");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let recorded = files.filter(|path| path.extension().is_some_and(|kind| kind == "gz"));
    let name = |path: PathBuf| {
        path.file_name()?
            .to_str()?
            .strip_suffix(".json.gz")
            .map(String::from)
    };
    let names: BTreeSet<String> = recorded.filter_map(name).collect();
    let listed: BTreeSet<_> = FILES.iter().map(|(name, _)| String::from(*name)).collect();
    assert_eq!(names, listed);
}

/// Text on a stack is removed, addresses are not.
#[test]
fn text_is_blanked() {
    let mut bytes = b"\0/home/somebody\0short\0\x7f\0\0ABCDEFGH".to_vec();
    blank_text(&mut bytes);
    assert_eq!(
        bytes,
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0short\0\x7f\0\0\0\0\0\0\0\0\0\0"
    );
}
