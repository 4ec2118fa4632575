//! Whole outputs, compared with files. `OFFHEAP_BLESS=1 cargo test -p offheap` writes them anew.

use std::path::PathBuf;

use super::{course, fixture, owners};
use crate::capture::Capture;
use crate::report::{Filter, Format, Options, render};

fn rendered(capture: &Capture, format: Format, options: &Options) -> String {
    let mut out = Vec::new();
    render(capture, format, options, &mut out).expect("writing to memory");
    String::from_utf8(out).expect("reports are UTF-8")
}

pub(crate) fn compare(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("OFFHEAP_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("create the folder");
        return std::fs::write(&path, actual).expect("write the golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{name} differs; look at the change, then bless it with OFFHEAP_BLESS=1\n{actual}"
    );
}

/// Proves that the text report of a busy server says what it must, word for word.
#[test]
fn text_of_a_server() {
    compare(
        "server.txt",
        &rendered(&fixture::server(), Format::Text, &Options::default()),
    );
}

/// Proves that a capture of nothing is a whole report, too.
#[test]
fn text_of_nothing() {
    compare(
        "empty.txt",
        &rendered(&fixture::empty(), Format::Text, &Options::default()),
    );
}

/// Proves that growth that was not tracked comes first, that what malloc keeps is no leak, and how both add up.
#[test]
fn text_of_growth() {
    for (name, capture) in [
        ("elsewhere", owners::grew_elsewhere()),
        ("kept", owners::kept_by_malloc()),
    ] {
        let text = rendered(&capture, Format::Text, &Options::default());
        compare(&format!("{name}.txt"), &text);
    }
}

/// Proves what speedscope gets of a busy server, and of hostile names.
#[test]
fn speedscope_of_captures() {
    for (name, capture) in [
        ("server", fixture::server()),
        ("hostile", fixture::hostile()),
    ] {
        compare(
            &format!("{name}.speedscope.json"),
            &rendered(&capture, Format::Speedscope, &Options::default()),
        );
    }
}

/// Proves what stands in a page, with its drawings and its data, without its style and its script.
#[test]
fn page_of_a_server() {
    for (name, capture) in [
        ("course", course::course()),
        ("hostile", fixture::hostile()),
    ] {
        let page = rendered(&capture, Format::Html, &Options::default());
        let (markup, data) = super::page::parts(&page);
        let data = serde_json::to_string_pretty(&data).expect("the data are JSON");
        compare(&format!("{name}.html"), &format!("{markup}\n{data}\n"));
    }
}

/// Proves what pprof gets of a busy server, as its samples read with their tables resolved.
#[test]
fn profile_of_a_server() {
    compare("server.pprof", &super::profile::dump(&fixture::server()));
}

/// Proves that hostile names reach a profile without controls and within bounds.
#[test]
fn profile_of_hostile_names() {
    compare("hostile.pprof", &super::profile::dump(&fixture::hostile()));
}

/// Proves that hostile names reach the text without controls and within bounds.
#[test]
fn text_of_hostile_names() {
    compare(
        "hostile.txt",
        &rendered(&fixture::hostile(), Format::Text, &Options::default()),
    );
}

/// Proves that classes, their figures and ages are in the text, word for word; and "leak" only beside the figures.
#[test]
fn text_of_a_course() {
    let text = rendered(&course::course(), Format::Text, &Options::default());
    for line in text
        .lines()
        .filter(|line| line.to_lowercase().contains("leak"))
    {
        assert!(
            line.contains("growing by") && line.contains("95 %") && line.contains("p "),
            "{line}"
        );
    }
    compare("course.txt", &text);
    let mut table = Vec::new();
    crate::report::table::write(&course::course(), &Options::default(), &mut table)
        .expect("writing to memory");
    compare(
        "course.table",
        &String::from_utf8(table).expect("reports are UTF-8"),
    );
}

/// Proves the lines of a live view: widths, marks and callers.
#[test]
fn table_of_a_server() {
    let mut out = Vec::new();
    crate::report::table::write(&fixture::server(), &Options::default(), &mut out)
        .expect("writing to memory");
    compare(
        "server.table",
        &String::from_utf8(out).expect("tables are UTF-8"),
    );
}

/// Proves that filters, order and length of the list are obeyed, and that the report says what is hidden.
#[test]
fn text_filtered() {
    let filter = Filter {
        exclude: Some("Deflater".parse().expect("a regex")),
        min_count: 13,
        ..Filter::default()
    };
    let options = Options {
        filter,
        top: 1,
        sort: crate::report::Sort::Count,
        color: true,
    };
    compare(
        "filtered.txt",
        &rendered(&fixture::server(), Format::Text, &options),
    );
}

/// Proves the folded lines of a busy server: each byte once, annotations, incomplete stacks under their reason.
#[test]
fn folded_of_a_server() {
    compare(
        "server.folded",
        &rendered(&fixture::server(), Format::Folded, &Options::default()),
    );
}

/// Proves that stream sites carry their bytes where malloc is not hooked.
#[test]
fn folded_without_malloc() {
    let mut capture = fixture::server();
    capture.settings.hooks = vec!["zlib".to_owned()];
    capture
        .sites
        .retain(|site| site.kind == crate::capture::SiteKind::Deflate);
    compare(
        "zlib-only.folded",
        &rendered(&capture, Format::Folded, &Options::default()),
    );
}

/// Proves that hostile names cannot add lines, frames or columns.
#[test]
fn folded_of_hostile_names() {
    compare(
        "hostile.folded",
        &rendered(&fixture::hostile(), Format::Folded, &Options::default()),
    );
}

/// Proves that the schema of `capture.json` is what it was.
#[test]
fn json_of_a_server() {
    compare(
        "server.json",
        &rendered(&fixture::server(), Format::Json, &Options::default()),
    );
}

/// Proves that the flame graph of a busy server is drawn as it was, without inferno's script and style.
#[test]
fn svg_of_a_server() {
    let svg = rendered(&fixture::server(), Format::Svg, &Options::default());
    let frames = svg
        .split("<g>")
        .skip(1)
        .map(|group| group.split("</g>").next().unwrap_or_default());
    compare(
        "server.svg-frames",
        &(frames.collect::<Vec<_>>().join("\n") + "\n"),
    );
}

/// Proves that the examples in the documentation are what is really written.
#[test]
fn documented_examples_are_real() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/formats");
    for (page, format) in [
        ("text.md", Format::Text),
        ("folded.md", Format::Folded),
        ("flame.svg", Format::Svg),
    ] {
        let written = rendered(&fixture::server(), format, &Options::default());
        assert_documented(page, &written);
    }
    let mut table = Vec::new();
    crate::report::table::write(&course::course(), &Options::default(), &mut table)
        .expect("writing to memory");
    assert_documented("growth.md", &String::from_utf8_lossy(&table));
    let page = std::fs::read_to_string(folder.join("capture-json.md"))
        .expect("a page of the documentation");
    let example = page
        .split("```json")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    let capture = crate::report::json::parse(example.as_bytes()).expect("a capture");
    assert_eq!(capture.sites[0].outstanding_count, 1_204);
}

/// The page shows what was written; the file itself, where it is no page.
pub(crate) fn assert_documented(page: &str, written: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/formats");
    let path = folder.join(page);
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    let expected = with_example(&documented, written);
    if std::env::var_os("OFFHEAP_BLESS").is_some() {
        return std::fs::write(&path, &expected).expect("write the page");
    }
    assert!(
        documented == expected,
        "{page} shows something else; bless it with OFFHEAP_BLESS=1"
    );
}

/// The page with its first fenced block replaced; the whole, where there is none.
fn with_example(page: &str, example: &str) -> String {
    let mut parts = page.splitn(3, "```\n");
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(_), Some(after)) => format!("{before}```\n{example}```\n{after}"),
        _ => example.to_owned(),
    }
}
