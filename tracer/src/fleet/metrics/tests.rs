use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::report::tests::{fixture, golden};

fn moment(capture: &Capture) -> Moment<'_> {
    Moment {
        capture,
        sample_bytes: 1 << 20,
        took: Duration::from_millis(3),
        bundles: Bundles {
            written: 2,
            failed: 1,
        },
        pushed: Some(Pushed {
            sent: 5,
            spooled: 1,
            spooled_bytes: 4096,
            ..Pushed::default()
        }),
    }
}

fn page(capture: &Capture, sites: usize) -> Page {
    Metrics::new(sites).page(moment(capture)).unwrap()
}

/// The rows with their labels, and their values.
fn rows(page: &str) -> BTreeMap<&str, f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (row, value) = line.rsplit_once(' ').unwrap();
            (row, value.parse().unwrap())
        })
        .collect()
}

/// The rows of one name.
fn of<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    rows(page)
        .into_keys()
        .filter(|row| row.split('{').next() == Some(name))
        .collect()
}

fn grow(capture: &mut Capture, frame: &str, bytes: u64) {
    let site = capture
        .sites
        .iter_mut()
        .find(|site| site.frames.iter().any(|f| f.name == frame))
        .unwrap();
    site.outstanding_bytes += bytes;
}

/// A capture whose sites all have the same kind and size, one frame each.
fn alike(names: &[String]) -> Capture {
    let mut capture = fixture::empty();
    let frame = |name: &String| {
        let kind = crate::capture::FrameKind::Native;
        vec![fixture::frame(name, kind, Some("app"), None)]
    };
    let kind = crate::capture::SiteKind::Malloc;
    capture.sites = names
        .iter()
        .map(|name| fixture::site(kind, 1000, 1, frame(name)))
        .collect();
    capture
}

/// What is served of a busy server, and of hostile names, word for word.
#[test]
fn golden_pages() {
    golden::compare(
        "server.openmetrics",
        &page(&fixture::server(), 3).open_metrics,
    );
    golden::compare(
        "hostile.openmetrics",
        &page(&fixture::hostile(), 3).open_metrics,
    );
}

/// Both formats say the same, and each row is declared before it comes.
#[test]
fn formats_agree() {
    for capture in [fixture::server(), fixture::hostile(), fixture::empty()] {
        let page = page(&capture, 10);
        assert_eq!(rows(&page.open_metrics), rows(&page.plain));
        assert!(page.open_metrics.ends_with("# EOF\n"));
        let declared: BTreeSet<&str> = page
            .plain
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let named: BTreeSet<&str> = rows(&page.plain)
            .into_keys()
            .filter_map(|row| row.split('{').next())
            .collect();
        assert_eq!(declared, named);
    }
}

/// Each pair that is hooked has its rows, also before anything was opened; what its sites have open is summed up.
#[test]
fn pairs_have_their_rows() {
    let mut capture = fixture::server();
    let opened = |pair: &str, count| {
        let mut site = fixture::site(crate::capture::SiteKind::Pair, 40, count, Vec::new());
        site.pair = Some(pair.to_owned());
        (site.allocated_count, site.freed_count) = (count + 5, 5);
        site
    };
    capture.sites.extend([opened("conn", 7), opened("conn", 4)]);
    let mut function = capture.functions[0].clone();
    function.pair = Some("file stream".to_owned());
    capture.functions.push(function);
    let page = page(&capture, 3).plain;
    let rows = rows(&page);
    for (row, value) in [
        ("offheap_open_objects{pair=\"conn\"}", 11.0),
        ("offheap_open_objects_bytes{pair=\"conn\"}", 80.0),
        ("offheap_opened_objects_total{pair=\"conn\"}", 21.0),
        ("offheap_closed_objects_total{pair=\"conn\"}", 10.0),
        ("offheap_open_objects{pair=\"file stream\"}", 0.0),
    ] {
        assert_eq!(rows.get(row), Some(&value), "{row}");
    }
    assert_eq!(of(&page, "offheap_open_objects").len(), 2);
}

/// However many sites there are, no more are rows than are asked for, and each has its three numbers and its information.
#[test]
fn sites_are_bounded() {
    let names: Vec<String> = (0..1000).map(|n| format!("f{n}")).collect();
    let page = page(&alike(&names), 7);
    for name in [
        "offheap_site_outstanding_bytes",
        "offheap_site_outstanding_allocations",
        "offheap_site_growth_bytes",
        "offheap_site_info",
    ] {
        assert_eq!(of(&page.plain, name).len(), 7, "{name}");
    }
    assert!(rows(&page.plain).len() < 80);
}

/// The sites are those that grew over the last one to two periods, not the biggest; growth is told in bytes.
#[test]
fn growth_over_periods() {
    let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let mut metrics = Metrics::new(1);
    let mut capture = alike(&names);
    grow(&mut capture, "a", 1_000_000);
    let shown = |metrics: &mut Metrics, capture: &Capture| {
        let page = metrics.page(moment(capture)).unwrap().plain;
        let info = of(&page, "offheap_site_info");
        assert_eq!(info.len(), 1);
        let growth = of(&page, "offheap_site_growth_bytes")[0];
        (info[0].contains("top=\"b (app)\""), rows(&page)[growth])
    };
    assert_eq!(shown(&mut metrics, &capture), (false, 1_001_000.0));
    metrics.period(&capture);
    metrics.period(&capture);
    grow(&mut capture, "b", 500);
    // `a` is one of the two that grew most, and was shown: it stays, with what it gained since.
    assert_eq!(shown(&mut metrics, &capture), (false, 0.0));
    grow(&mut capture, "c", 400);
    assert_eq!(shown(&mut metrics, &capture), (true, 500.0));
}

/// An estimate that is corrected downwards makes no counter fall, since that would read as a restart; gauges fall.
#[test]
fn counters_do_not_fall() {
    let mut metrics = Metrics::new(3);
    let mut capture = fixture::server();
    let before = metrics.page(moment(&capture)).unwrap().plain;
    for site in &mut capture.sites {
        site.allocated_bytes /= 2;
        site.outstanding_bytes /= 2;
    }
    let after = metrics.page(moment(&capture)).unwrap().plain;
    let value = |page: &str, row: &str| rows(page)[row];
    let counter = "offheap_allocated_bytes_total{kind=\"malloc\"}";
    let gauge = "offheap_outstanding_bytes{kind=\"malloc\"}";
    assert_eq!(value(&before, counter), value(&after, counter));
    assert!(value(&before, gauge) > value(&after, gauge));
}

/// A hook has its rows before anything was allocated, so that rates begin at zero and not at nothing.
#[test]
fn rows_before_the_first_allocation() {
    let mut capture = fixture::empty();
    capture.settings.hooks = vec!["zlib".to_owned()];
    let page = page(&capture, 3).plain;
    assert_eq!(rows(&page)["offheap_open_streams{kind=\"deflate\"}"], 0.0);
    assert!(of(&page, "offheap_allocated_bytes_total").is_empty());
}
