//! A live JVM, stopped at malloc: every stack has to be whole.
//!
//! `JAVA_HOME` chooses the JDK. With `OFFHEAP_BLESS=1` the golden files of `fixture.rs` are written anew.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use object::{Object, ObjectSymbol};

use crate::stack::{Frame, JavaKind, Marker, MethodTable, Stack, StackEnd};
use crate::target::modules::{ModuleTable, elf};
use crate::unwind::memory::{ProcessMemory, Recorder};
use crate::unwind::{Jvm, Unwinder, hotspot};

use super::fixture::Seen;
use super::stops::{self, Stops};
use crate::unwind::fixture::Fixture;

mod parked;

/// ptrace and wait are per thread and process: one JVM at a time.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The JVM, killed at the end of the test.
struct Target {
    child: Child,
    _classes: tempfile::TempDir,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Traced threads have to be waited for one by one before the process is gone.
        stops::reap(self.child.id());
    }
}

impl Target {
    /// Starts `Live` and waits until it is ready; None (with the reason on stderr) where there is no JDK.
    fn start(options: &[&str], warm_up: u32, way: &Way) -> Option<Self> {
        let classes = tempfile::tempdir().unwrap();
        let source = classes.path().join("Live.java");
        std::fs::write(&source, include_str!("Live.java")).unwrap();
        let Ok(compiled) = Command::new(tool("javac"))
            .arg("-d")
            .arg(classes.path())
            .arg(&source)
            .status()
        else {
            eprintln!("skipped: no javac on the path or in JAVA_HOME");
            return None;
        };
        assert!(compiled.success());
        let mut child = Command::new((way.java)())
            .args(options)
            .arg("-cp")
            .arg(classes.path())
            .args(["Live", &warm_up.to_string(), way.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Some(Target {
            child,
            _classes: classes,
        })
    }

    fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

/// A program of the JDK under test.
fn tool(name: &str) -> PathBuf {
    std::env::var_os("JAVA_HOME").map_or_else(
        || PathBuf::from(name),
        |home| Path::new(&home).join("bin").join(name),
    )
}

/// The JDK that is installed, or that `JAVA_HOME` names.
fn installed() -> PathBuf {
    tool("java")
}

pub fn malloc(modules: &ModuleTable) -> u64 {
    let libc = modules
        .modules
        .iter()
        .find(|module| module.path.ends_with("libc.so.6"))
        .unwrap();
    let malloc = elf::visit(&libc.file, |elf| {
        elf.dynamic_symbols()
            .find(|symbol| symbol.name() == Ok("malloc"))
            .map(|s| s.address())
    });
    hotspot::load_bias(libc).unwrap() + malloc.unwrap().unwrap()
}

/// The methods of `Live`, leaf first, and how they ran.
fn own_frames(stack: &Stack, methods: &MethodTable) -> Vec<(String, u32, JavaKind)> {
    let own = |frame: &Frame| match frame {
        Frame::Java { kind, method, line } => {
            let method = &methods.methods[method.0 as usize];
            (method.class == "Live").then(|| (method.name.clone(), *line, *kind))
        }
        _ => None,
    };
    stack.frames.iter().filter_map(own).collect()
}

/// The line of `Live.java` that contains `text`.
fn line(text: &str) -> u32 {
    1 + include_str!("Live.java")
        .lines()
        .position(|line| line.contains(text))
        .unwrap() as u32
}

fn is_in_deflater(stack: &Stack, methods: &MethodTable) -> bool {
    stack.frames.iter().any(|frame| match frame {
        Frame::Java {
            kind: JavaKind::Native,
            method,
            ..
        } => methods.methods[method.0 as usize].name == "init",
        _ => false,
    })
}

/// Asserts what the stack at a stop has to be; how its methods were run, or None for a stack that is not meant.
type Check =
    fn(&ModuleTable, &mut Unwinder<Recorder<ProcessMemory>>, &stops::Stop) -> Option<Vec<JavaKind>>;

/// What `Live` does, and what its stacks are then.
struct Way {
    java: fn() -> PathBuf,
    name: &'static str,
    check: Check,
}

const PLAIN: Way = Way {
    java: installed,
    name: "plain",
    check: check_stop,
};

/// Walks `count` stacks at malloc inside of Deflater.init; all have to be whole and to name the same calls. The result
/// is how the methods of `Live` were run; None where this machine can't do it.
fn check(
    name: &str,
    options: &[&str],
    warm_up: u32,
    count: usize,
    way: &Way,
) -> Option<Vec<JavaKind>> {
    let _one = one_at_a_time();
    let mut target = Target::start(options, warm_up, way)?;
    let pid = target.child.id();
    let mut modules = ModuleTable::default();
    modules.refresh(pid).unwrap();
    let mut unwinder = Unwinder::new(Recorder::new(ProcessMemory::open(pid).unwrap()));
    unwinder.modules_changed(&modules);
    assert!(
        matches!(unwinder.jvm(), Jvm::Supported(_)),
        "{:?}",
        unwinder.jvm()
    );
    let mut stops = Stops::seize(pid).unwrap();
    let visited = stops.all(|stop| {
        let stack = unwinder.unwind(&modules, &stop.capture(&[]));
        // Some thread may not have gone to sleep yet.
        let interrupted = stack.end == StackEnd::InJava && stack.frames.len() == 1;
        assert!(interrupted || stack.end == StackEnd::Root, "{stack:?}");
    });
    visited.unwrap();
    if !stops.break_at(malloc(&modules)).unwrap() {
        eprintln!("skipped: malloc does not begin with a push of an upper register here");
        return None;
    }
    target.go();
    let (mut kinds, mut stacks) = (Vec::new(), Vec::new());
    while stacks.len() < count {
        let stop = stops.next().unwrap().expect("the JVM ended");
        // libzip and libz are mapped by the first use of a Deflater.
        modules.refresh(pid).unwrap();
        unwinder.modules_changed(&modules);
        if let Some(own) = (way.check)(&modules, &mut unwinder, &stop) {
            kinds.extend(own);
            stacks.push(stop.copy());
        }
        stops.resume(stop).unwrap();
    }
    if std::env::var_os("OFFHEAP_BLESS").is_some() {
        bless(name, &modules, &mut unwinder, &stacks);
    }
    Some(kinds)
}

/// One stop: None where it is not in a Deflater's constructor.
fn check_stop(
    modules: &ModuleTable,
    unwinder: &mut Unwinder<Recorder<ProcessMemory>>,
    stop: &stops::Stop,
) -> Option<Vec<JavaKind>> {
    let stack = unwinder.unwind(modules, &stop.capture(&[]));
    assert_eq!(stack.end, StackEnd::Root, "{stack:?}");
    if !is_in_deflater(&stack, unwinder.methods()) {
        return None;
    }
    let own = own_frames(&stack, unwinder.methods());
    let (main, calls) = own.split_last().unwrap();
    assert_eq!(main.0, "main");
    let calls: Vec<_> = calls
        .iter()
        .map(|(name, line, _)| (name.as_str(), *line))
        .collect();
    let leaf = [
        ("leak", "new Deflater()"),
        ("middle", "supplier.getAsInt()"),
    ]
    .into_iter();
    let expected = leaf
        .chain([("outer", "return depth == 0"); 4])
        .chain([("once", "outer(3)")])
        .map(|(name, text)| (name, line(text)));
    assert_eq!(calls, expected.collect::<Vec<_>>());
    without_unwind_info(&stack, modules, unwinder, stop);
    Some(own.iter().map(|(_, _, kind)| *kind).collect())
}

fn bless(
    name: &str,
    modules: &ModuleTable,
    unwinder: &mut Unwinder<Recorder<ProcessMemory>>,
    stacks: &[stops::Copy],
) {
    let Jvm::Supported(version) = unwinder.jvm() else {
        return;
    };
    let release = version.version.split('.').next().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("src/unwind/tests/jvm-{release}-{name}.json.gz"));
    // Others than those that tests include are not kept.
    if path.exists() {
        let seen = stacks[stacks.len().saturating_sub(3)..]
            .iter()
            .map(|copy| Seen {
                way: String::new(),
                told: Vec::new(),
                copy: copy.clone(),
            });
        let seen: Vec<_> = seen.collect();
        let golden = Fixture::record(modules, unwinder, &seen, None);
        std::fs::write(path, golden.to_file()).unwrap();
    }
}

/// Where a native library has no unwind tables, the walk goes on at the last Java frame and says so.
fn without_unwind_info(
    whole: &Stack,
    modules: &ModuleTable,
    unwinder: &mut Unwinder<Recorder<ProcessMemory>>,
    stop: &stops::Stop,
) {
    let libzip = modules
        .modules
        .iter()
        .find(|module| module.path.ends_with("libzip.so"))
        .map(|module| module.id);
    let in_libzip =
        |frame: &Frame| matches!(frame, Frame::Native { module, .. } if Some(*module) == libzip);
    // The JVM allocates, too, when it links the native method.
    if !whole.frames.iter().any(in_libzip) {
        return;
    }
    let mut stripped = modules.clone();
    for module in &mut stripped.modules {
        if module.path.ends_with("libzip.so") {
            module.file = Arc::new(File::open("/dev/null").unwrap());
        }
    }
    let mut other = Unwinder::new(ProcessMemory::open(stop.process()).unwrap());
    other.modules_changed(modules);
    let stack = other.unwind(&stripped, &stop.capture(&[]));
    let resumed = stack
        .frames
        .iter()
        .position(|frame| *frame == Frame::Marker(Marker::ResumedAtAnchor))
        .unwrap();
    let java = whole
        .frames
        .iter()
        .position(|frame| matches!(frame, Frame::Java { .. }))
        .unwrap();
    assert_eq!(stack.end, StackEnd::Root);
    assert_eq!(stack.frames[..resumed], whole.frames[..resumed]);
    // Method ids are each unwinder's own.
    let own = |stack: &Stack, methods| own_frames(stack, methods);
    assert_eq!(own(&stack, other.methods()), own(whole, unwinder.methods()));
    assert_eq!(stack.frames.len() - resumed - 1, whole.frames.len() - java);
}

/// Interpreted frames: all stacks at malloc are whole and name methods and lines.
#[test]
fn interpreted() {
    if let Some(kinds) = check("interpreted", &["-Xint"], 0, 50, &PLAIN) {
        assert!(kinds.iter().all(|kind| *kind == JavaKind::Interpreted));
    }
}

/// Default flags from a cold start: interpreted frames and, as they come, compiled ones.
#[test]
fn cold() {
    if let Some(kinds) = check("cold", &[], 0, 100, &PLAIN) {
        assert!(kinds.contains(&JavaKind::Interpreted));
    }
}

/// Default flags after a warm-up: compiled frames with frames inlined into them.
#[test]
fn warm() {
    if let Some(kinds) = check("warm", &[], 200_000, 100, &PLAIN) {
        assert!(kinds.contains(&JavaKind::C1) || kinds.contains(&JavaKind::C2));
        assert!(kinds.contains(&JavaKind::Inlined));
    }
}

/// C2 only, which compiles what is hot before it goes on.
#[test]
fn server_compiler() {
    if let Some(kinds) = check(
        "server",
        &["-XX:-TieredCompilation", "-Xbatch"],
        50_000,
        100,
        &PLAIN,
    ) {
        assert!(kinds.contains(&JavaKind::C2) && kinds.contains(&JavaKind::Inlined));
    }
}

/// C1 only, without inlining.
#[test]
fn client_compiler() {
    if let Some(kinds) = check(
        "client",
        &["-XX:TieredStopAtLevel=1", "-XX:-Inline"],
        20_000,
        50,
        &PLAIN,
    ) {
        assert!(kinds.contains(&JavaKind::C1) && !kinds.contains(&JavaKind::C2));
    }
}
