//! `report.html` in a real browser: what it draws, and what it does on clicks and keys.

use std::fs;

use offheap::capture::{Capture, Site, SiteKind};
use offheap::report::units::{Bytes, Count};
use offheap::report::{Format, Options, accounting, render};
use offheap_tests::browser::{Browser, browser};
use offheap_tests::captures::{self, HOSTILE};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Most that a page with 10,000 sites may take.
const LARGEST: usize = 3_000_000;

/// A page on disk and the browser that shows it.
struct Shown {
    browser: Browser,
    address: String,
    _folder: TempDir,
}

fn page(capture: &Capture) -> Vec<u8> {
    let mut page = Vec::new();
    render(capture, Format::Html, &Options::default(), &mut page).expect("writing to memory");
    page
}

/// None where there is no browser.
fn show(capture: &Capture) -> Option<Shown> {
    let browser = browser()?;
    let folder = TempDir::new().expect("a temporary directory");
    let file = folder.path().join("report.html");
    fs::write(&file, page(capture)).expect("the page is written");
    let mut shown = Shown {
        browser,
        address: format!("file://{}", file.display()),
        _folder: folder,
    };
    shown.open("");
    Some(shown)
}

impl Shown {
    /// Opens the page at a view.
    fn open(&mut self, view: &str) {
        self.browser.open(&format!("{}{view}", self.address));
        assert_eq!(
            self.browser.evaluate("document.documentElement.className"),
            "ready"
        );
    }

    /// What stands above the flame graph.
    fn says(&mut self) -> String {
        self.browser.text("#flame-says")
    }

    /// The cells of a column, from the top.
    fn column(&mut self, number: usize) -> Vec<String> {
        let cells = self.browser.evaluate(&format!(
            "[...document.querySelectorAll('#sites tr:not(.details) td:nth-child({number})')].map(c => c.textContent)"
        ));
        serde_json::from_value(cells).expect("texts")
    }

    fn hash(&mut self) -> String {
        let hash = self.browser.evaluate("location.hash");
        hash.as_str().unwrap_or_default().to_owned()
    }

    /// The page is as quiet at the end as a page has to be, and asked for nothing but itself.
    fn assert_quiet(&mut self) {
        assert_eq!(self.browser.errors(), Vec::<String>::new());
        let address = &self.address;
        let others: Vec<String> = self
            .browser
            .requests()
            .into_iter()
            .filter(|asked| !asked.starts_with(address.as_str()))
            .collect();
        assert_eq!(others, Vec::<String>::new(), "it loads nothing");
    }
}

fn counted(capture: &Capture) -> impl Iterator<Item = &Site> {
    let hooks = &capture.settings.hooks;
    capture
        .sites
        .iter()
        .filter(|site| accounting::counts(site, hooks))
}

/// An expression for the box of a frame in the flame graph.
fn box_named(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('.f')].find(f => f.getAttribute('aria-label').startsWith({name:?}))"
    )
}

/// A page of 10,000 sites stays below 3 MB, is drawn with the capture's sums, logs no error and loads nothing.
#[test]
fn ten_thousand_sites_are_drawn() {
    let capture = captures::many(10_000);
    let size = page(&capture).len();
    assert!(size <= LARGEST, "{size} bytes");
    let Some(mut shown) = show(&capture) else {
        return;
    };
    let total = Bytes(capture.memory.outstanding_bytes).to_string();
    assert!(shown.says().contains(&total), "{} {total}", shown.says());
    assert!(shown.browser.count(".f") > 300, "the flame graph has boxes");
    assert_eq!(shown.browser.count("#sites tr"), 100, "the table begins");
    let said = shown.browser.text("#sites-say");
    assert!(said.starts_with("10,000 of 10,000 sites"), "{said}");
    assert_eq!(
        shown.browser.count("section .chart svg"),
        3,
        "timeline and two histograms"
    );
    shown.assert_quiet();
}

/// What is shown can be switched between metrics and kinds; each sum is the sum of the sites.
#[test]
fn metrics_and_kinds_switch() {
    let capture = captures::many(400);
    let Some(mut shown) = show(&capture) else {
        return;
    };
    let of = |kind: SiteKind, value: fn(&Site) -> u64| {
        capture
            .sites
            .iter()
            .filter(|site| site.kind == kind)
            .map(value)
            .sum()
    };
    let grown: u64 = counted(&capture)
        .filter_map(|site| {
            let bytes = &site.series.as_ref()?.bytes;
            Some(bytes[bytes.len() - 1].saturating_sub(bytes[bytes.len() / 2]))
        })
        .sum();
    let allocated: u64 = counted(&capture).map(|site| site.allocated_bytes).sum();
    let cases = [
        ("allocated", "", Bytes(allocated).to_string()),
        (
            "count",
            "mmap",
            Count(of(SiteKind::Mmap, |site| site.outstanding_count)).to_string(),
        ),
        (
            "bytes",
            "deflate",
            Bytes(of(SiteKind::Deflate, |site| site.outstanding_bytes)).to_string(),
        ),
        ("growth", "", format!("+{}", Bytes(grown))),
    ];
    for (metric, kind, sum) in cases {
        shown.browser.choose("metric", metric);
        shown.browser.choose("kind", kind);
        assert!(
            shown.says().contains(&sum),
            "{metric} {kind}: {} {sum}",
            shown.says()
        );
        let kinds = shown.column(3);
        assert!(
            kind.is_empty() || kinds.iter().all(|shown| shown == kind),
            "{kinds:?}"
        );
    }
    shown.assert_quiet();
}

/// A click on a frame zooms to it, a click on what is above zooms out, and the address leads back to the view.
#[test]
fn a_click_zooms() {
    let Some(mut shown) = show(&captures::server()) else {
        return;
    };
    let name = "com.acme.GzipHandler.handle";
    let width = format!("{}.style.width", box_named(name));
    assert_ne!(shown.browser.evaluate(&width), "100%");
    shown.browser.click(&box_named(name));
    assert_eq!(shown.browser.evaluate(&width), "100%");
    assert!(
        shown
            .says()
            .contains("zoomed to com.acme.GzipHandler.handle")
    );
    let view = shown.hash();
    assert!(view.contains("z="), "{view}");
    shown.open(&view);
    assert_eq!(
        shown.browser.evaluate(&width),
        "100%",
        "a link leads to the same view"
    );
    shown.browser.click(&box_named("all"));
    assert_ne!(shown.browser.evaluate(&width), "100%");
    assert_eq!(shown.hash(), "");
    shown.assert_quiet();
}

/// A search marks the frames, sums up their stacks, and leaves the sites that have one in the table.
#[test]
fn a_search_finds() {
    let capture = captures::server();
    let Some(mut shown) = show(&capture) else {
        return;
    };
    shown.browser.click("document.getElementById('search')");
    shown.browser.type_text("gziphandler");
    let hits = shown
        .browser
        .evaluate("[...document.querySelectorAll('.f.hit')].map(f => f.textContent)");
    assert_eq!(hits, json!(["com.acme.GzipHandler.handle"]));
    let with = |site: &&Site| {
        site.frames
            .iter()
            .any(|frame| frame.name.contains("GzipHandler"))
    };
    let found: u64 = counted(&capture)
        .filter(with)
        .map(|site| site.outstanding_bytes)
        .sum();
    assert!(
        shown
            .says()
            .contains(&format!("on the stacks of ~{}", Bytes(found))),
        "{}",
        shown.says()
    );
    let callers = shown.column(4);
    assert!(
        !callers.is_empty() && callers.iter().all(|caller| caller.contains("GzipHandler")),
        "{callers:?}"
    );
    shown.browser.key("Escape");
    assert_eq!(shown.browser.count(".f.hit"), 0);
    shown.assert_quiet();
}

/// A click on a column sorts by it, another one turns the order round.
#[test]
fn columns_sort() {
    let mut capture = captures::many(90);
    let Some(mut shown) = show(&capture) else {
        return;
    };
    let header = "document.querySelector('th[data-sort=count] button')";
    capture.sites.sort_by_key(|site| site.outstanding_count);
    let (least, most) = (
        capture.sites[0].outstanding_count,
        capture.sites[89].outstanding_count,
    );
    let number = |text: &str| {
        text.trim_start_matches('~')
            .replace(',', "")
            .parse::<u64>()
            .ok()
    };
    for (order, first) in [("descending", most), ("ascending", least)] {
        shown.browser.click(header);
        let sorted = shown
            .browser
            .evaluate("document.querySelector('th[data-sort=count]').ariaSort");
        assert_eq!(sorted, order);
        let counts: Vec<u64> = shown
            .column(2)
            .iter()
            .filter_map(|text| number(text))
            .collect();
        assert_eq!((counts.len(), counts[0]), (90, first));
        let mut expected = counts.clone();
        expected.sort_unstable();
        if order == "descending" {
            expected.reverse();
        }
        assert_eq!(counts, expected);
    }
    shown.assert_quiet();
}

/// A site opens to its whole stack, leaf first, with its figures.
#[test]
fn a_site_opens() {
    let capture = captures::many(50);
    let Some(mut shown) = show(&capture) else {
        return;
    };
    // The first row is the biggest site.
    shown
        .browser
        .click("document.querySelector('button.opener')");
    let frames = shown
        .browser
        .evaluate("[...document.querySelectorAll('.stack .name')].map(n => n.textContent)");
    let site = &capture.sites[0];
    let mut names: Vec<&str> = site
        .frames
        .iter()
        .map(|frame| frame.name.as_str())
        .collect();
    if site.kind == SiteKind::Deflate {
        names.insert(0, "deflate stream");
    }
    assert_eq!(frames, json!(names));
    assert!(
        shown.browser.text(".details").contains("growing by "),
        "the figures behind the class"
    );
    let expanded = "document.querySelector('button.opener').ariaExpanded";
    assert_eq!(shown.browser.evaluate(expanded), "true");
    shown.browser.key("Enter");
    assert_eq!(
        shown.browser.evaluate(expanded),
        "false",
        "and closes by the keyboard"
    );
    shown.assert_quiet();
}

/// The flame graph is walked, zoomed and left by keys alone, and a key leads to the search.
#[test]
fn keys_suffice() {
    let Some(mut shown) = show(&captures::server()) else {
        return;
    };
    let focus = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.id";
    let focused = |shown: &mut Shown| -> String {
        shown
            .browser
            .evaluate(focus)
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    shown
        .browser
        .evaluate("document.getElementById('reset').focus()");
    shown.browser.key("Tab");
    // The scrolling box around the graph may take the focus first.
    if !focused(&mut shown).starts_with("all:") {
        shown.browser.key("Tab");
    }
    assert!(
        focused(&mut shown).starts_with("all:"),
        "{}",
        focused(&mut shown)
    );
    shown.browser.key("ArrowDown");
    assert!(
        focused(&mut shown).starts_with("start_thread"),
        "the widest child"
    );
    shown.browser.key("ArrowLeft");
    let left = focused(&mut shown);
    assert!(!left.starts_with("start_thread"), "{left}");
    shown.browser.key("ArrowRight");
    shown.browser.key("Enter");
    assert!(shown.says().contains("zoomed to start_thread"));
    shown.browser.key("Escape");
    assert!(!shown.says().contains("zoomed"));
    shown.browser.key("/");
    assert_eq!(focused(&mut shown), "search");
    shown.browser.type_text("rocksdb");
    assert!(shown.browser.count(".f.hit") > 0);
    shown.assert_quiet();
}

/// Names like markup and script stay text, wherever the target chooses them.
#[test]
fn names_stay_text() {
    let Some(mut shown) = show(&captures::hostile()) else {
        return;
    };
    for view in [
        "#o=0",
        "#o=1&m=count",
        "#q=%3Cimg",
        "#q=%3C%2Fscript&k=malloc&s=caller",
    ] {
        shown.open(view);
        assert_eq!(shown.browser.evaluate("typeof pwned"), "undefined");
        assert_eq!(
            shown.browser.count("script"),
            2,
            "the data and the page's own"
        );
        assert_eq!(
            shown
                .browser
                .count("img, iframe, [onerror], [onload], main > script"),
            0
        );
        let names =
            "[...document.querySelectorAll('.f')].map(f => f.getAttribute('aria-label')).join()";
        let names = shown.browser.evaluate(names);
        let names = names.as_str().unwrap_or_default();
        assert!(
            HOSTILE[..2].iter().all(|name| names.contains(name)),
            "{names}"
        );
        shown.assert_quiet();
    }
}

/// The page follows the scheme of the reader, is white on paper, and no wider than a narrow window.
#[test]
fn it_is_readable_everywhere() {
    let Some(mut shown) = show(&captures::many(60)) else {
        return;
    };
    let back = "getComputedStyle(document.body).backgroundColor";
    let tools = "getComputedStyle(document.querySelector('.tools')).display";
    let mut seen: Vec<(Value, Value)> = Vec::new();
    for (medium, scheme) in [
        ("screen", "light"),
        ("screen", "dark"),
        ("print", "light"),
        ("print", "dark"),
    ] {
        shown.browser.emulate(medium, scheme);
        seen.push((shown.browser.evaluate(back), shown.browser.evaluate(tools)));
    }
    let white = json!("rgb(255, 255, 255)");
    assert_eq!(seen[0], (white.clone(), json!("flex")));
    assert_ne!(seen[1].0, white);
    assert_eq!(seen[2], (white.clone(), json!("none")));
    assert_eq!(seen[3], seen[2]);
    shown.browser.emulate("screen", "light");
    shown.browser.resize(400, 800);
    let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(shown.browser.evaluate(overflow), 0);
    shown.assert_quiet();
}

/// Where a capture has no readings or no ages the page says so, in place of an empty drawing.
#[test]
fn what_is_missing_is_said() {
    let Some(mut shown) = show(&captures::server()) else {
        return;
    };
    let text = shown.browser.text("main");
    assert!(text.contains("This capture has no readings over time"));
    assert!(text.contains("No ages were kept"));
    assert_eq!(shown.browser.count(".chart svg"), 0);
    let disabled = "document.querySelector('#metric option[value=growth]').disabled";
    assert_eq!(shown.browser.evaluate(disabled), true);
    shown.assert_quiet();
}
