//! Comparisons of captures written down by hand.

use std::sync::Arc;

use super::*;
use crate::capture::FrameKind;
use crate::capture::{Capture, Owner, Watched};
use crate::report::tests::fixture::{empty, frame, hostile, server, site};
use crate::report::tests::golden::{assert_documented, compare};

fn rendered(base: &Capture, new: &Capture, format: Format) -> String {
    let diff = of(base, new, &Filter::default());
    let mut out = Vec::new();
    render(&diff, format, 10, &mut out).expect("writing to memory");
    String::from_utf8(out).expect("reports are UTF-8")
}

/// The server half a minute later: RocksDB holds more, Inflaters are open, Deflaters are gone but for a few, and there is
/// somebody new.
fn later() -> Capture {
    let mut capture = server();
    capture.window.end = "2026-01-02T03:05:05Z".to_owned();
    capture.window.seconds = 60.0;
    for site in &mut capture.sites {
        let name = &site.frames[0].name;
        match (site.kind, name.as_str()) {
            (SiteKind::Deflate, _) => {
                (site.outstanding_count, site.outstanding_bytes) = (4, 1_072_832)
            }
            (SiteKind::Malloc, "malloc") if site.frames.len() < 6 => {
                (site.outstanding_count, site.outstanding_bytes) = (82, 85_983_232);
            }
            (SiteKind::Malloc, "malloc") => {
                (site.outstanding_count, site.outstanding_bytes) = (24, 1_073_000);
            }
            (SiteKind::Inflate, _) => {
                (site.outstanding_count, site.outstanding_bytes) = (3, 120_000)
            }
            _ => {}
        }
    }
    capture.sites.retain(|site| site.stack_end != "lost");
    let newcomer = vec![
        frame("malloc", FrameKind::Native, Some("libc.so.6"), None),
        frame(
            "com.acme.Cache.put",
            FrameKind::C2,
            None,
            Some(("Cache.java", 12)),
        ),
    ];
    capture
        .sites
        .push(site(SiteKind::Malloc, 1 << 20, 16, newcomer));
    capture
}

/// The server again on another day, on another JVM, sampled otherwise, with malloc given up after a while.
fn other_run() -> Capture {
    let mut capture = later();
    capture.target.pid = 77;
    capture.target.start_ticks = 9_000;
    capture.window.start = "2026-01-09T03:04:05Z".to_owned();
    capture.settings.sample_bytes = 0;
    capture.settings.hooks = vec!["zlib".to_owned(), "malloc".to_owned()];
    if let Some(jvm) = &mut capture.target.jvm {
        jvm.version = "21.0.7+6".to_owned();
    }
    for function in &mut capture.functions {
        function.build_id = Some("0ddba11".to_owned());
    }
    capture.functions.pop();
    for frame in capture.sites.iter_mut().flat_map(|site| &mut site.frames) {
        let frame = Arc::make_mut(frame);
        frame.line = frame.line.map(|line| line + 3);
        if frame.module.as_deref() == Some("libz.so.1.2.13") {
            frame.module = Some("libz.so.1.3.1".to_owned());
        }
    }
    capture.tracer.budget.watched = vec![Watched {
        group: "malloc".to_owned(),
        from_seconds: 0.0,
        until_seconds: Some(12.0),
    }];
    capture
}

fn change<'a>(diff: &'a Diff<'_>, caller: &str, kind: SiteKind) -> &'a SiteDiff<'a> {
    let has = |site: &SiteDiff<'_>| site.site.frames.iter().any(|frame| frame.name == caller);
    let mut found = diff
        .sites
        .iter()
        .filter(|site| site.site.kind == kind && has(site));
    found
        .next()
        .unwrap_or_else(|| panic!("no {kind:?} site through {caller}"))
}

/// Of one attach, each site's change is what it gained in the time between, also where it is in one capture only.
#[test]
fn one_attach_is_compared_by_the_time_between() {
    let (base, new) = (server(), later());
    let diff = of(&base, &new, &Filter::default());
    assert_eq!(diff.relation, Relation::SameRun { seconds: 30.0 });
    let grown = change(&diff, "org.rocksdb.RocksDB.put", SiteKind::Malloc);
    assert_eq!((grown.bytes(), grown.count()), (42_991_616, 41));
    assert_eq!(diff.bytes_per_hour(grown), Some(42_991_616.0 * 120.0));
    let shrunk = change(&diff, "com.acme.GzipHandler.handle", SiteKind::Deflate);
    assert_eq!(
        (shrunk.bytes(), shrunk.count()),
        (1_072_832 - 322_922_432, -1_200)
    );
    let come = change(&diff, "com.acme.Cache.put", SiteKind::Malloc);
    assert_eq!((come.base, come.bytes()), (None, 1 << 20));
    let gone = change(&diff, "[stack lost]", SiteKind::Malloc);
    assert_eq!((gone.new, gone.bytes()), (None, -786_432));
    let lossless: Vec<_> = diff
        .warnings
        .iter()
        .filter(|warning| !warning.contains(" lost: "))
        .collect();
    assert!(lossless.is_empty(), "{lossless:?}");
}

/// Captures of different builds are matched without lines and versions of libraries, compared by what each counted per
/// hour, and everything that differs is said.
#[test]
fn two_attaches_are_compared_with_a_warning() {
    let (base, new) = (server(), other_run());
    let diff = of(&base, &new, &Filter::default());
    assert_eq!(diff.relation, Relation::TwoRuns);
    let grown = change(&diff, "org.rocksdb.RocksDB.put", SiteKind::Malloc);
    assert!(grown.base.is_some() && grown.new.is_some());
    let rate = 85_983_232.0 * 60.0 - 42_991_616.0 * 120.0;
    assert_eq!(diff.bytes_per_hour(grown), Some(rate));
    for said in [
        "77 (java) in NEW",
        "JVM: ",
        "sampling of malloc: one per 512 KiB in BASE, exact in NEW",
        "hooks: ",
        "libz.so.1.2.13 is another build",
        "native lib.so has probes in BASE only",
        "window: 30 s in BASE",
        "NEW: malloc was recorded for 12 s only",
    ] {
        assert!(
            diff.warnings.iter().any(|warning| warning.contains(said)),
            "{said}: {:#?}",
            diff.warnings
        );
    }
    assert!(
        of(&base, &base, &Filter::default())
            .warnings
            .iter()
            .all(|warning| warning.contains(" lost: "))
    );
}

/// A capture compared with itself shows no change, in each format.
#[test]
fn the_same_is_no_change() {
    let capture = server();
    let diff = of(&capture, &capture, &Filter::default());
    assert!(diff.sites.iter().all(SiteDiff::is_unchanged));
    assert!(
        diff.bytes_per_hour(&diff.sites[0]).is_none(),
        "no time has passed"
    );
    assert!(rendered(&capture, &capture, Format::Text).contains("No site changed"));
}

/// Proves the text of a comparison, word for word.
#[test]
fn text_is_golden() {
    compare("diff.txt", &rendered(&server(), &later(), Format::Text));
    compare(
        "diff-runs.txt",
        &rendered(&server(), &other_run(), Format::Text),
    );
    compare(
        "diff-empty.txt",
        &rendered(&empty(), &empty(), Format::Text),
    );
}

/// Proves that the examples in the documentation are what is really written.
#[test]
fn documented_examples_are_real() {
    assert_documented("diff.md", &rendered(&server(), &later(), Format::Text));
    assert_documented("diff.svg", &rendered(&server(), &later(), Format::Svg));
}

/// Proves the JSON of a comparison: each field and name.
#[test]
fn json_is_golden() {
    compare("diff.json", &rendered(&server(), &later(), Format::Json));
}

/// The flame graph is XML whose boxes bear their change, red where they grew and blue where they shrank.
#[test]
fn picture_is_red_and_blue() {
    let svg = rendered(&server(), &later(), Format::Svg);
    let document = roxmltree::Document::parse_with_options(
        &svg,
        roxmltree::ParsingOptions {
            allow_dtd: true,
            ..Default::default()
        },
    )
    .expect("well-formed");
    let fill = |wanted: &str| {
        let boxes = document.descendants().filter(|node| node.has_tag_name("g"));
        let mut found = boxes.filter(|node| {
            let title = node.children().find(|child| child.has_tag_name("title"));
            title
                .and_then(|title| title.text())
                .is_some_and(|text| text.starts_with(wanted))
        });
        let rect = found
            .next()
            .unwrap_or_else(|| panic!("no box {wanted} in {svg}"));
        let rect = rect
            .children()
            .find(|child| child.has_tag_name("rect"))
            .expect("a box");
        rect.attribute("fill").expect("a colour").to_owned()
    };
    let rgb = |fill: String| -> Vec<u8> {
        let inner = fill
            .trim_start_matches("rgb(")
            .trim_end_matches(')')
            .to_owned();
        inner
            .split(',')
            .map(|part| part.parse().expect("a number"))
            .collect()
    };
    let grown = rgb(fill("com.acme.State.store [+41 MiB]"));
    assert!(
        grown[0] == 255 && grown[1] < 245 && grown[1] == grown[2],
        "{grown:?}"
    );
    let gone = rgb(fill("[stack lost] [-768 KiB]"));
    assert!(gone[2] == 255 && gone[0] < 245, "{gone:?}");
    assert_eq!(rgb(fill("com.acme.Cache.put [+1 MiB]"))[0], 255);
    assert!(
        svg.contains("41.8 MiB") || svg.contains("to "),
        "the sums stand below the title"
    );
}

/// Captures that were made to break things are compared without a panic, and leave no control characters in any format.
#[test]
fn hostile_captures_are_survived() {
    let mut deep = hostile();
    let name = frame("f", FrameKind::Native, None, None);
    deep.sites[0].frames = vec![name; 20_000];
    deep.sites[1].owner = Some(Owner::Allocator);
    deep.window.seconds = 1e308;
    let mut instant = hostile();
    instant.window.seconds = -0.0;
    instant.target.pid = 9;
    for (base, new) in [
        (&deep, &instant),
        (&instant, &deep),
        (&empty(), &deep),
        (&deep, &deep),
    ] {
        for format in [Format::Text, Format::Json, Format::Svg] {
            let text = rendered(base, new, format);
            let control = text
                .chars()
                .find(|c| c.is_control() && *c != '\n' && *c != '\t' && *c != '\r');
            assert_eq!(control, None, "{format:?}");
        }
    }
}
