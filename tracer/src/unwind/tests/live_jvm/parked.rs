//! Virtual threads with parked frames.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stack::{Frame, JavaKind, Marker, StackEnd};
use crate::target::modules::ModuleTable;
use crate::unwind::Unwinder;
use crate::unwind::memory::{ProcessMemory, Recorder};
use crate::unwind::tests::stops;

use super::{Way, check, installed, is_in_deflater, own_frames};

const PARKED: Way = Way {
    java: with_virtual_threads,
    name: "parked",
    check: check_parked,
};

/// One stop on a virtual thread that was parked: behind the parked frames come those of the carrier, from the method
/// that went on with it. None where it is elsewhere, or before any was parked.
fn check_parked(
    modules: &ModuleTable,
    unwinder: &mut Unwinder<Recorder<ProcessMemory>>,
    stop: &stops::Stop,
) -> Option<Vec<JavaKind>> {
    let stack = unwinder.unwind(modules, &stop.capture(&[]));
    assert_eq!(stack.end, StackEnd::Root, "{stack:?}");
    let marker = Frame::Marker(Marker::ParkedVirtualThread);
    let at = stack.frames.iter().position(|frame| *frame == marker)?;
    if !is_in_deflater(&stack, unwinder.methods()) {
        return None;
    }
    let methods = &unwinder.methods().methods;
    let carrier = stack.frames[at..].iter().filter_map(|frame| match frame {
        Frame::Java { method, .. } => Some(methods[method.0 as usize].name.as_str()),
        _ => None,
    });
    let carrier: Vec<&str> = carrier.skip_while(|name| *name == "enterSpecial").collect();
    assert_eq!(carrier[..2], ["run", "runContinuation"]);
    let own = own_frames(&stack, unwinder.methods());
    assert_eq!((own[0].0.as_str(), own[1].0.as_str()), ("leak", "park"));
    Some(own.iter().map(|(_, _, kind)| *kind).collect())
}

/// Frames of a virtual thread that are parked are a gap behind which compiled and interpreted stacks go on at the frames
/// of its carrier.
#[test]
fn parked() {
    if release().is_none_or(|release| release < 21) {
        println!("skipped: no JDK with virtual threads in JAVA_HOME or target/jdks");
        return;
    }
    let compiled = ["-XX:-TieredCompilation", "-Xbatch"];
    if let Some(kinds) = check("parked", &compiled, 200, 20, &PARKED) {
        assert!(kinds.contains(&JavaKind::C2));
    }
    check("parked-interpreted", &["-Xint"], 0, 20, &PARKED);
}

/// JDK 21 where `cargo xtask setup --jdks` has put it, else the installed one.
fn with_virtual_threads() -> PathBuf {
    let downloaded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/jdks/21/bin/java");
    if downloaded.exists() {
        downloaded
    } else {
        installed()
    }
}

/// The feature release of the JDK that runs.
fn release() -> Option<u32> {
    let output = Command::new(with_virtual_threads())
        .arg("-version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    let version = text.split('"').nth(1)?;
    version.split(['.', '-']).next()?.parse().ok()
}
