//! What makes two captures hard to compare.

use std::collections::BTreeMap;

use super::{Relation, same_process};
use crate::capture::{Capture, Settings};
use crate::report::clean;
use crate::report::units::{Bytes, Count, Seconds};

/// Files that are named; more are only counted.
const NAMED_FILES: usize = 5;
/// Windows whose lengths differ by more than this share are said to differ.
const SAME_LENGTH: f64 = 0.1;

/// One sentence for each difference; what is the same in both is not mentioned.
pub(super) fn between(base: &Capture, new: &Capture, relation: Relation) -> Vec<String> {
    let mut found = processes(base, new);
    let said = [
        ("JVM", jvm(base), jvm(new)),
        (
            "offheap",
            base.tool.version.clone(),
            new.tool.version.clone(),
        ),
        ("kernel", base.host.kernel.clone(), new.host.kernel.clone()),
        ("processor", base.host.arch.clone(), new.host.arch.clone()),
    ];
    let settings = settings(&base.settings)
        .into_iter()
        .zip(settings(&new.settings));
    let settings = settings.map(|((name, base), (_, new))| (name, base, new));
    for (name, base, new) in said.into_iter().chain(settings) {
        if base != new {
            let (base, new) = (
                clean::name(&base).into_owned(),
                clean::name(&new).into_owned(),
            );
            found.push(format!("{name}: {base} in BASE, {new} in NEW"));
        }
    }
    found.extend(files(base, new));
    found.extend(windows(base, new, relation));
    for (which, capture) in [("BASE", base), ("NEW", new)] {
        let whats = not_recorded(capture).into_iter();
        found.extend(whats.map(|what| format!("{which}: {what}")));
    }
    found
}

fn processes(base: &Capture, new: &Capture) -> Vec<String> {
    if same_process(base, new) {
        return Vec::new();
    }
    let (base, new) = (&base.target, &new.target);
    let mut found = Vec::new();
    if base.pid == new.pid && base.start_ticks != new.start_ticks && base.comm == new.comm {
        found.push(format!("process {} was started again in between", base.pid));
    } else if base.pid != new.pid || base.comm != new.comm {
        let (old, comm) = (clean::name(&base.comm), clean::name(&new.comm));
        found.push(format!(
            "process: {} ({old}) in BASE, {} ({comm}) in NEW",
            base.pid, new.pid
        ));
    }
    if base.cmdline != new.cmdline {
        found.push("the processes have different command lines".to_owned());
    }
    found
}

fn jvm(capture: &Capture) -> String {
    match &capture.target.jvm {
        Some(jvm) => format!("{} {}", jvm.name, jvm.version),
        None => "none".to_owned(),
    }
}

fn settings(settings: &Settings) -> [(&'static str, String); 6] {
    let size = |size: Option<u64>| size.map_or("any".to_owned(), |size| Bytes(size).to_string());
    [
        ("hooks", settings.hooks.join(", ")),
        (
            "sampling of malloc",
            match settings.sample_bytes {
                0 => "exact".to_owned(),
                interval => format!("one per {}", Bytes(interval)),
            },
        ),
        ("copied stack", Bytes(settings.stack_bytes).to_string()),
        ("least size", size(settings.min_size)),
        ("greatest size", size(settings.max_size)),
        (
            "--older",
            settings
                .older_seconds
                .map_or("not given".to_owned(), |age| Seconds(age).to_string()),
        ),
    ]
}

/// Probed files that are not the same file, or that only one capture has.
fn files(base: &Capture, new: &Capture) -> Vec<String> {
    let (base, new) = (build_ids(base), build_ids(new));
    let mut found = Vec::new();
    for path in base
        .keys()
        .chain(new.keys().filter(|path| !base.contains_key(*path)))
    {
        let name = clean::name(path);
        match (base.get(path), new.get(path)) {
            (Some(old), Some(new)) if old != new => {
                found.push(format!("{name} is another build in NEW"));
            }
            (Some(_), None) => found.push(format!("{name} has probes in BASE only")),
            (None, Some(_)) => found.push(format!("{name} has probes in NEW only")),
            _ => {}
        }
    }
    if found.len() > NAMED_FILES {
        let more = found.len() - NAMED_FILES;
        found.truncate(NAMED_FILES);
        found.push(format!("{more} more probed files are not the same"));
    }
    found
}

fn build_ids(capture: &Capture) -> BTreeMap<&str, Option<&str>> {
    let functions = capture
        .functions
        .iter()
        .filter(|function| function.error.is_none());
    functions
        .map(|function| (function.file.as_str(), function.build_id.as_deref()))
        .collect()
}

fn windows(base: &Capture, new: &Capture, relation: Relation) -> Option<String> {
    let (base, new) = (base.window.seconds, new.window.seconds);
    match relation {
        Relation::SameRun { seconds } if seconds < 0.0 => {
            Some("BASE was made after NEW, in the same run: give the earlier one first".to_owned())
        }
        Relation::TwoRuns if (base - new).abs() > SAME_LENGTH * base.max(new) => Some(format!(
            "window: {} in BASE, {} in NEW, each from its own attach on: compare the rates",
            Seconds(base),
            Seconds(new)
        )),
        _ => None,
    }
}

/// What a capture does not tell of.
fn not_recorded(capture: &Capture) -> Vec<String> {
    let watched = capture.tracer.budget.watched.iter();
    let given_up = watched.filter_map(|watched| {
        let seconds = watched.until_seconds? - watched.from_seconds;
        let group = clean::name(&watched.group);
        Some(match seconds > 0.0 {
            true => format!(
                "{group} was recorded for {} only (--max-overhead)",
                Seconds(seconds)
            ),
            false => format!("{group} was not recorded (--max-overhead)"),
        })
    });
    let losses = capture.losses.iter().filter(|(_, count)| **count > 0);
    let lost =
        losses.map(|(reason, count)| format!("{} lost: {}", Count(*count), clean::name(reason)));
    given_up.chain(lost).collect()
}
