//! Properties of profiles, read back from their bytes.

use std::fmt::Write as _;
use std::io::Read as _;

use flate2::read::GzDecoder;
use prost::Message as _;

use super::fixture;
use crate::capture::{Capture, FrameKind, SiteKind};
use crate::report::pprof::proto::{Location, Profile, Sample};
use crate::report::{Filter, Format, Options, accounting, render};

fn profile(capture: &Capture) -> Profile {
    let mut packed = Vec::new();
    render(capture, Format::Pprof, &Options::default(), &mut packed).expect("writing to memory");
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice())
        .read_to_end(&mut bytes)
        .expect("gzip");
    Profile::decode(bytes.as_slice()).expect("a profile")
}

fn text(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).expect("an index")]
}

fn place(profile: &Profile, location: &Location) -> String {
    let lines = location.line.iter().map(|line| {
        let function = &profile.function[line.function_id as usize - 1];
        let (name, file) = (
            text(profile, function.name),
            text(profile, function.filename),
        );
        format!("{name} {file}:{}", line.line)
    });
    let lines = lines.collect::<Vec<_>>().join(" < ");
    match location.mapping_id {
        0 => lines,
        id => {
            let mapping = &profile.mapping[id as usize - 1];
            let (file, build) = (
                text(profile, mapping.filename),
                text(profile, mapping.build_id),
            );
            format!("{lines} in {file} ({build})")
        }
    }
}

fn labels(profile: &Profile, sample: &Sample) -> String {
    let labels = sample.label.iter().map(|label| {
        let (key, value) = (text(profile, label.key), text(profile, label.text));
        format!("{key}={value}")
    });
    labels.collect::<Vec<_>>().join(" ")
}

/// A profile as text, with its tables resolved.
pub(super) fn dump(capture: &Capture) -> String {
    let profile = profile(capture);
    let mut dump = String::new();
    for kind in &profile.sample_type {
        let (name, unit) = (text(&profile, kind.kind), text(&profile, kind.unit));
        writeln!(dump, "type {name}/{unit}").expect("writing to memory");
    }
    let default = text(&profile, profile.default_sample_type);
    writeln!(
        dump,
        "default {default}, period {}, time {}, duration {}",
        profile.period, profile.time_nanos, profile.duration_nanos
    )
    .expect("writing to memory");
    for sample in &profile.sample {
        writeln!(dump, "\n{:?} {}", sample.value, labels(&profile, sample)).expect("memory");
        for id in &sample.location_id {
            let location = &profile.location[*id as usize - 1];
            writeln!(dump, "  {}", place(&profile, location)).expect("memory");
        }
    }
    dump
}

/// Proves that the bytes in use are the outstanding bytes, each once, and that every site that counts is a sample.
#[test]
fn each_byte_is_sampled_once() {
    for hooks in [&["zlib", "mmap", "malloc"][..], &["zlib"], &["mmap"]] {
        let mut capture = fixture::server();
        capture.settings.hooks = hooks.iter().map(|hook| (*hook).to_owned()).collect();
        let in_use: i64 = profile(&capture)
            .sample
            .iter()
            .map(|sample| sample.value[3])
            .sum();
        let outstanding =
            accounting::outstanding_bytes(&capture.sites, &capture.settings.hooks) as i64;
        assert_eq!(in_use, outstanding, "{hooks:?}");
    }
}

/// Proves that every index and id of a profile leads somewhere, whatever the names are.
#[test]
fn tables_are_whole() {
    for capture in [fixture::server(), fixture::hostile(), fixture::empty()] {
        let profile = profile(&capture);
        assert_eq!(profile.string_table[0], "");
        assert_eq!(profile.sample_type.len(), 4);
        for (ids, count) in [
            (
                profile.location.iter().map(|l| l.id).collect::<Vec<_>>(),
                profile.location.len(),
            ),
            (
                profile.function.iter().map(|f| f.id).collect(),
                profile.function.len(),
            ),
            (
                profile.mapping.iter().map(|m| m.id).collect(),
                profile.mapping.len(),
            ),
        ] {
            assert!(ids.into_iter().eq(1..=count as u64));
        }
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), profile.sample_type.len());
            assert!(!sample.location_id.is_empty());
        }
        assert!(!dump(&capture).is_empty(), "every reference was followed");
        for text in &profile.string_table {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}

/// Proves that inlined frames share the place of the frame that has the code, the innermost first, in native code and in
/// Java, and that an inlined frame of Java does not join native code.
#[test]
fn inlined_frames_are_lines_of_one_place() {
    let frame = |name: &str, kind, module| fixture::frame(name, kind, module, Some(("f.c", 7)));
    let frames = vec![
        frame("inner", FrameKind::Inlined, Some("liba.so")),
        frame("outer", FrameKind::Inlined, Some("liba.so")),
        frame("real", FrameKind::Native, Some("liba.so")),
        frame("a.B.small", FrameKind::Inlined, None),
        frame("a.B.big", FrameKind::C2, None),
        frame("a.B.lost", FrameKind::Inlined, None),
        frame("start_thread", FrameKind::Native, Some("libc.so.6")),
    ];
    let mut capture = fixture::empty();
    capture.sites = vec![fixture::site(SiteKind::Malloc, 97, 1, frames)];
    let profile = profile(&capture);
    let lines = profile.sample[0].location_id.iter().map(|id| {
        let location = &profile.location[*id as usize - 1];
        let functions = location.line.iter().map(|line| {
            let function = &profile.function[line.function_id as usize - 1];
            text(&profile, function.name)
        });
        functions.collect::<Vec<_>>()
    });
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            vec!["inner", "outer", "real"],
            vec!["a.B.small", "a.B.big"],
            vec!["a.B.lost"],
            vec!["start_thread"],
        ]
    );
}

/// Proves that the comments are the honesty block, line by line.
#[test]
fn comments_say_how_it_was_measured() {
    let profile = profile(&fixture::server());
    let comments: Vec<&str> = profile
        .comment
        .iter()
        .map(|line| text(&profile, *line))
        .collect();
    assert_eq!(comments[0], "How this was measured");
    for words in [
        "memory older than the attach is unknown",
        "losses",
        "probe hit",
    ] {
        assert!(comments.iter().any(|line| line.contains(words)), "{words}");
    }
}

/// Proves that the filter is obeyed, and that numbers beyond the format's range are cut and not wrapped.
#[test]
fn filters_and_bounds_hold() {
    let mut capture = fixture::server();
    capture.sites[1].outstanding_bytes = u64::MAX;
    let profile = crate::report::pprof::profile(&capture, &Filter::default()).expect("memory");
    assert!(
        profile
            .sample
            .iter()
            .any(|sample| sample.value[3] == i64::MAX)
    );
    let none = Filter {
        min_count: u64::MAX,
        ..Filter::default()
    };
    let profile = crate::report::pprof::profile(&capture, &none).expect("memory");
    assert!(profile.sample.is_empty());
}
