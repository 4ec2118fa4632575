//! Properties of `report.html` that need no browser.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::{course, fixture};
use crate::capture::{Ages, Capture, Series, SiteSeries};
use crate::report::html::data;
use crate::report::{Format, Options, accounting, render};

fn page(capture: &Capture) -> String {
    let mut out = Vec::new();
    render(capture, Format::Html, &Options::default(), &mut out).expect("writing to memory");
    String::from_utf8(out).expect("pages are UTF-8")
}

/// The page without style, data and script, and the data.
pub(super) fn parts(page: &str) -> (String, Value) {
    let (head, rest) = page.split_once("<style>").expect("a style");
    let (_, rest) = rest.split_once("</style>").expect("the end of the style");
    let (body, rest) = rest
        .split_once("<script id=\"data\" type=\"application/json\">")
        .expect("data");
    let (json, rest) = rest.split_once("</script>").expect("the end of the data");
    let (_, end) = rest.split_once("</script>").expect("the end of the script");
    // The hash changes with each letter of the script.
    let head = head
        .split("'sha256-")
        .enumerate()
        .map(|(at, part)| match at {
            0 => part,
            _ => part.split_once('\'').map_or(part, |(_, rest)| rest),
        });
    let head = head.collect::<Vec<_>>().join("'sha256'");
    let data = serde_json::from_str(json).expect("the data are JSON");
    (format!("{head}{body}{end}"), data)
}

fn sum(data: &Value, column: &str) -> u64 {
    let numbers = data["sites"][column].as_array().expect("a column");
    numbers.iter().filter_map(Value::as_u64).sum()
}

/// Proves that no name of the target becomes an element, an attribute or the end of a script.
#[test]
fn names_do_not_become_markup() {
    let known = [
        "!DOCTYPE", "html", "head", "meta", "title", "body", "header", "h1", "p", "main", "ul",
        "li", "section", "h2", "noscript", "div", "label", "select", "option", "input", "button",
        "span", "table", "thead", "tr", "th", "tbody", "pre", "svg", "rect", "line", "polyline",
        "polygon", "text", "h3",
    ];
    let handler = regex::Regex::new(r"\son\w+\s*=").expect("a regex");
    for capture in [fixture::hostile(), course::course()] {
        let page = page(&capture);
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script").count(), 2);
        let (markup, _) = parts(&page);
        for tag in markup.split('<').skip(1) {
            let name = tag.trim_start_matches('/').split([' ', '>', '\n']).next();
            assert!(name.is_some_and(|name| known.contains(&name)), "<{tag}");
            let attributes = tag.split('>').next().unwrap_or_default();
            assert!(
                !handler.is_match(attributes) && !attributes.contains("href"),
                "<{tag}"
            );
        }
        assert!(!markup.chars().any(|c| c.is_control() && c != '\n'));
    }
}

/// Proves that the page asks for nothing: no address stands in it but the name of SVG.
#[test]
fn nothing_is_loaded() {
    let page = page(&course::course()).replace("http://www.w3.org/2000/svg", "");
    for word in [
        "http:",
        "https:",
        "@import",
        "url(",
        " src=",
        "fetch(",
        "XMLHttpRequest",
    ] {
        assert!(!page.contains(word), "{word}");
    }
}

/// Proves that what does not fit into the data is summed up, so that no byte and no allocation gets lost.
#[test]
fn the_smallest_sites_are_summed_up() {
    let mut capture = fixture::server();
    for at in 0..300 {
        let mut site = capture.sites[3].clone();
        Arc::make_mut(&mut site.frames[0]).name = format!("unlike_{at}_{}", "any".repeat(20));
        site.outstanding_bytes += at;
        capture.sites.push(site);
    }
    let shown: Vec<_> = capture.sites.iter().collect();
    let whole: Value =
        serde_json::from_str(&data::bounded(&capture, &shown, 1 << 20).expect("data"))
            .expect("JSON");
    let most = 12_000;
    let cut = data::bounded(&capture, &shown, most).expect("data");
    assert!(cut.len() <= most, "{}", cut.len());
    let cut: Value = serde_json::from_str(&cut).expect("JSON");
    let rows = |data: &Value| data["sites"]["leaf"].as_array().map_or(0, Vec::len);
    assert_eq!(rows(&whole), capture.sites.len());
    assert!(
        rows(&cut) < rows(&whole) && rows(&cut) > 3,
        "{}",
        rows(&cut)
    );
    for column in ["bytes", "count", "allocated", "made", "freed", "cleaner"] {
        assert_eq!(sum(&cut, column), sum(&whole, column), "{column}");
    }
    let names = cut["names"].to_string();
    assert!(
        names.contains("smaller sites: capture.json has them"),
        "{names}"
    );
}

/// Proves that all columns are of one length and lead to stacks that are there.
#[test]
fn the_data_are_whole() {
    for capture in [course::course(), fixture::hostile(), fixture::empty()] {
        let (_, data) = parts(&page(&capture));
        let sites = data["sites"].as_object().expect("columns");
        for (name, column) in sites {
            assert_eq!(
                column.as_array().map(Vec::len),
                Some(capture.sites.len()),
                "{name}"
            );
        }
        let nodes = data["stacks"]["frame"].as_array().map_or(0, Vec::len) as u64;
        let leaves = data["sites"]["leaf"].as_array().expect("leaves");
        assert!(
            leaves
                .iter()
                .all(|leaf| leaf.as_u64().is_some_and(|leaf| leaf <= nodes))
        );
        let counted = capture
            .sites
            .iter()
            .filter(|site| accounting::counts(site, &capture.settings.hooks));
        let flags = data["sites"]["flags"].as_array().expect("flags");
        let counts = flags
            .iter()
            .filter(|flags| flags.as_u64().is_some_and(|flags| flags & 2 != 0));
        assert_eq!(counts.count(), counted.count());
    }
}

proptest! {
    /// Proves that readings and ages of any shape are drawn or left out, and never a reason to fail.
    #[test]
    fn any_readings_are_drawn(
        mut seconds in prop::collection::vec(prop_oneof![9 => 0.0..1e9, 1 => any::<f64>()], 0..40),
        sorted in any::<bool>(),
        rss in prop::collection::vec(any::<u64>(), 0..40),
        outstanding in prop::collection::vec(prop_oneof![0..1000u64, any::<u64>()], 0..40),
        ages in prop::collection::vec(prop_oneof![Just(0), any::<u64>()], 0..100),
    ) {
        if sorted {
            seconds.sort_by(f64::total_cmp);
        }
        let mut capture = fixture::server();
        capture.sites[1].series = Some(SiteSeries { bytes: outstanding.clone(), count: Vec::new() });
        capture.sites[1].ages = Some(Ages { outstanding: ages.clone(), freed: ages });
        capture.series = Some(Series { seconds, rss, outstanding, ..Series::default() });
        let (markup, _) = parts(&page(&capture));
        for drawing in markup.split("<svg").skip(1).filter_map(|rest| rest.split("</svg>").next()) {
            prop_assert!(!drawing.contains("NaN") && !drawing.contains("inf"), "{}", drawing);
        }
    }
}
