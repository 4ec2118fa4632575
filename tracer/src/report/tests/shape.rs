//! Properties that hold for every capture.

use super::fixture;
use crate::capture::{Capture, Owner, SiteKind};
use crate::report::{Filter, Format, Options, accounting, folded, json, render};

fn rendered(capture: &Capture, format: Format) -> String {
    let mut out = Vec::new();
    render(capture, format, &Options::default(), &mut out).expect("writing to memory");
    String::from_utf8(out).expect("reports are UTF-8")
}

/// Proves that the folded bytes are the outstanding bytes, for every choice of hooks.
#[test]
fn each_byte_is_folded_once() {
    for hooks in [
        &["zlib", "mmap", "malloc"][..],
        &["zlib"],
        &["mmap"],
        &["malloc"],
        &["zlib", "mmap"],
    ] {
        let mut capture = fixture::server();
        capture.settings.hooks = hooks.iter().map(|hook| (*hook).to_owned()).collect();
        let hooked = |group: &str| hooks.contains(&group);
        capture.sites.retain(|site| match site.kind {
            SiteKind::Malloc => hooked("malloc"),
            SiteKind::Mmap => hooked("mmap"),
            SiteKind::Fault => hooked("growth"),
            SiteKind::Deflate | SiteKind::Inflate => hooked("zlib"),
            SiteKind::Pair => hooked("pairs"),
        });
        let folded: u64 = folded::stacks(&capture, &Filter::default()).values().sum();
        assert_eq!(
            folded,
            accounting::outstanding_bytes(&capture.sites, &capture.settings.hooks),
            "{hooks:?}"
        );
        let arenas = capture
            .sites
            .iter()
            .filter(|site| site.owner == Some(Owner::Allocator));
        let counted = arenas
            .filter(|site| accounting::counts(site, &capture.settings.hooks))
            .count();
        assert_eq!(counted, usize::from(hooks == ["mmap"]), "{hooks:?}");
    }
}

/// Proves that each folded line is a stack, one space and a number, whatever the names are.
#[test]
fn folded_lines_are_well_formed() {
    for capture in [fixture::server(), fixture::hostile()] {
        for line in rendered(&capture, Format::Folded).lines() {
            let (stack, bytes) = line.rsplit_once(' ').expect("a space");
            assert!(bytes.parse::<u64>().is_ok(), "{line}");
            for frame in stack.split(';') {
                assert!(
                    !frame.is_empty() && !frame.starts_with('#') && frame.trim() == frame,
                    "{frame}"
                );
                let last_word = frame.rsplit_once(' ').map(|(_, word)| word);
                assert!(
                    last_word.is_none_or(|word| word.parse::<f64>().is_err()),
                    "{frame}"
                );
            }
        }
    }
}

/// Proves that no output contains a control character other than the line feed.
#[test]
fn controls_never_get_out() {
    let capture = fixture::hostile();
    for format in [Format::Text, Format::Folded, Format::Svg] {
        let text = rendered(&capture, format);
        let own = |line: &&str| !line.contains("function") && !line.starts_with('\t');
        for line in text.lines().filter(own) {
            assert!(
                !line.chars().any(|c| c.is_control() && c != '\t'),
                "{format:?}: {line:?}"
            );
        }
    }
}

/// Proves that the flame graph is XML, runs only inferno's own script, and loads nothing.
#[test]
fn svg_is_xml_and_inert() {
    for capture in [fixture::server(), fixture::hostile(), fixture::empty()] {
        let svg = rendered(&capture, Format::Svg);
        let options = roxmltree::ParsingOptions {
            allow_dtd: true,
            ..Default::default()
        };
        let document =
            roxmltree::Document::parse_with_options(&svg, options).expect("well-formed XML");
        let scripts = document
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "script")));
        let drawn = usize::from(!capture.sites.is_empty());
        assert_eq!(scripts.count(), drawn, "inferno's script and no other");
        for node in document.descendants() {
            for attribute in node.attributes() {
                let handler = attribute.name().starts_with("on");
                assert!(
                    !handler
                        || (node == document.root_element() && attribute.value() == "init(evt)")
                );
                assert!(
                    !["href", "src"].contains(&attribute.name()),
                    "{attribute:?}"
                );
            }
        }
        assert!(!svg.contains("@import") && !svg.contains("url(http"));
    }
}

/// Proves that the picture names pid, window, sampling and the unit.
#[test]
fn svg_says_what_it_shows() {
    let svg = rendered(&fixture::server(), Format::Svg);
    for words in [
        "outstanding bytes of java (pid 4242)",
        "window 30 s",
        "malloc sampled every 512 KiB",
        " bytes, ",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    assert!(rendered(&fixture::empty(), Format::Svg).contains("nothing is outstanding"));
}

/// Proves that frames of different kinds have different colours.
#[test]
fn svg_colors_tell_kinds_apart() {
    let svg = rendered(&fixture::server(), Format::Svg);
    let color_of = |name: &str| {
        let at = svg
            .find(&format!("<title>{name} ("))
            .unwrap_or_else(|| panic!("no frame {name}"));
        svg[at..]
            .split("fill=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a colour")
    };
    let names = [
        "com.acme.GzipHandler.handle",
        "java.lang.Thread.run_[1]",
        "com.acme.Server.run_[0]",
        "java.util.zip.Deflater.&lt;init&gt;",
        "java.util.zip.Deflater.init",
        "malloc",
        "JavaCalls::call_helper",
        "StubRoutines (1)",
        "[stack lost]",
    ];
    let mut colors: Vec<&str> = names.iter().map(|name| color_of(name)).collect();
    colors.sort_unstable();
    colors.dedup();
    assert_eq!(colors.len(), names.len());
}

/// Proves that a capture survives being written and read, hostile names and largest numbers included.
#[test]
fn json_round_trip() {
    for capture in [fixture::server(), fixture::hostile(), fixture::empty()] {
        let written = rendered(&capture, Format::Json);
        let read = json::parse(written.as_bytes()).expect("our own document");
        assert_eq!(rendered(&read, Format::Json), written);
    }
}

/// Proves that each kind of wrong input is refused with what is wrong.
#[test]
fn json_of_others_is_refused() {
    let error = |bytes: &[u8]| json::parse(bytes).expect_err("wrong input").to_string();
    assert!(error(b"not json").starts_with("not a capture of offheap: "));
    assert!(error(b"{}").contains("missing field `schema`"));
    assert_eq!(
        error(br#"{"schema": "offheap.capture/2"}"#),
        "schema `offheap.capture/2` is not known: this offheap reads `offheap.capture/1`, use the version that wrote \
         the file"
    );
    assert!(
        error(br#"{"schema": "offheap.capture/1"}"#)
            .starts_with("not a valid `offheap.capture/1` document: ")
    );
    let huge = rendered(&fixture::server(), Format::Json)
        .replace("\"pid\": 4242", "\"pid\": 99999999999999999999999");
    assert!(
        error(huge.as_bytes()).contains("invalid"),
        "{}",
        error(huge.as_bytes())
    );
}

/// Proves that fields of later versions of the schema are ignored, and that later optional ones may be missing.
#[test]
fn json_tolerates_other_versions() {
    let written = rendered(&fixture::server(), Format::Json);
    let newer = written.replacen('{', "{ \"later\": {\"field\": []},", 1);
    assert_eq!(
        json::parse(newer.as_bytes())
            .expect("unknown fields")
            .sites
            .len(),
        7
    );
    let mut value: serde_json::Value = serde_json::from_str(&written).expect("our own document");
    for field in ["freed_count", "blocks", "reserved_bytes"] {
        value["sites"][0]
            .as_object_mut()
            .expect("a site")
            .remove(field);
    }
    value.as_object_mut().expect("a capture").remove("notes");
    assert_eq!(
        json::parse(value.to_string().as_bytes())
            .expect("missing fields")
            .sites[0]
            .freed_count,
        0
    );
}

/// Proves that formats are found by name, and that a wrong one is told the right ones.
#[test]
fn formats_have_names() {
    assert_eq!("svg".parse::<Format>(), Ok(Format::Svg));
    assert_eq!("Folded".parse::<Format>(), Ok(Format::Folded));
    assert_eq!(
        "pdf".parse::<Format>(),
        Err(
            "unknown format `pdf`: use text, folded, svg, html, pprof, speedscope or json"
                .to_owned()
        )
    );
}

mod any_capture {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::capture::{Frame, FrameKind, Site};

    fn frames() -> impl Strategy<Value = Vec<Arc<Frame>>> {
        let kind = prop::sample::select(vec![
            FrameKind::Native,
            FrameKind::C2,
            FrameKind::Inlined,
            FrameKind::Unknown,
        ]);
        let text = || prop_oneof!["[ab;# ]{0,3}[0-9.]{0,2}", any::<String>()];
        let frame = (
            text(),
            kind,
            prop::option::of(text()),
            prop::option::of(any::<u32>()),
        );
        let frame = frame.prop_map(|(name, kind, text, line)| {
            Arc::new(Frame {
                name,
                kind,
                module: text.clone(),
                file: text.clone(),
                line,
                reason: text,
            })
        });
        prop::collection::vec(frame, 0..6)
    }

    fn site() -> impl Strategy<Value = Site> {
        let kind = prop::sample::select(vec![
            SiteKind::Deflate,
            SiteKind::Inflate,
            SiteKind::Malloc,
            SiteKind::Mmap,
            SiteKind::Pair,
        ]);
        let bytes = prop_oneof![Just(0), 1u64..100, any::<u64>()];
        (
            kind,
            bytes,
            any::<u64>(),
            any::<f64>(),
            any::<bool>(),
            frames(),
            any::<String>(),
        )
            .prop_map(|(kind, bytes, count, age, estimated, frames, end)| {
                let mut site = fixture::site(kind, bytes, count, frames);
                site.pair = (kind == SiteKind::Pair && !end.is_empty()).then(|| end.clone());
                (site.oldest_seconds, site.estimated, site.stack_end) = (age, estimated, end);
                site
            })
    }

    proptest! {
        /// Proves that whatever a capture holds, every format is written, well formed, and adds up.
        #[test]
        fn is_rendered(sites in prop::collection::vec(site(), 0..8), malloc in any::<bool>()) {
            let mut capture = fixture::empty();
            capture.sites = sites;
            if !malloc {
                capture.settings.hooks.pop();
            }
            rendered(&capture, Format::Text);
            rendered(&capture, Format::Html);
            rendered(&capture, Format::Speedscope);
            super::super::profile::dump(&capture);
            let svg = rendered(&capture, Format::Svg);
            let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
            prop_assert!(roxmltree::Document::parse_with_options(&svg, options).is_ok());
            let lines = rendered(&capture, Format::Folded);
            let bytes = lines.lines().map(|line| line.rsplit_once(' ').and_then(|(_, bytes)| bytes.parse::<u64>().ok()));
            let sum = bytes.map(|bytes| bytes.expect("a number")).fold(0, u64::saturating_add);
            prop_assert_eq!(sum, accounting::outstanding_bytes(&capture.sites, &capture.settings.hooks));
        }
    }
}
