//! The sites that grow most, by names that stay the same.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::sheet::{Kind, Labels, Sheet, value};
use crate::capture::{Capture, Site};
use crate::fleet::site_id;
use crate::report::caller;
use crate::report::listing::{Listing, kind_word};
use crate::report::{Filter, Sort};

/// Outstanding bytes of each site, and when that was, in seconds after the attach.
#[derive(Debug, Default)]
struct Held {
    seconds: f64,
    bytes: HashMap<String, u64>,
}

/// Growth is what came since the last period but one began: one to two periods, and never only the moment since the last
/// bundle. Before the first of them it is what came since the attach.
#[derive(Debug)]
pub struct Growing {
    most: usize,
    before: Held,
    last: Held,
    /// The sites of the page before.
    shown: Vec<String>,
}

impl Growing {
    pub fn new(most: usize) -> Growing {
        Growing {
            most,
            before: Held::default(),
            last: Held::default(),
            shown: Vec::new(),
        }
    }

    pub fn period(&mut self, capture: &Capture) {
        let bytes = capture
            .sites
            .iter()
            .map(|site| (site_id::of(site), site.outstanding_bytes))
            .collect();
        let now = Held {
            seconds: capture.window.seconds,
            bytes,
        };
        self.before = std::mem::replace(&mut self.last, now);
    }

    pub fn write(&mut self, capture: &Capture, sheet: &mut Sheet) {
        let all = Filter::default().select(capture);
        let grown = Listing::new(capture, &all, Sort::Bytes)
            .sites
            .into_iter()
            .map(|site| self.grown(site));
        let chosen = self.choose(grown.collect());
        self.shown = chosen.iter().map(|grown| grown.id.clone()).collect();
        write_sites(&chosen, sheet);
        sheet.single(
            Kind::Gauge,
            "offheap_site_growth_window_seconds",
            "Time that offheap_site_growth_bytes covers",
            capture.window.seconds - self.before.seconds,
        );
    }

    fn grown<'a>(&self, site: &'a Site) -> Grown<'a> {
        let id = site_id::of(site);
        let before = self.before.bytes.get(&id).copied().unwrap_or(0);
        Grown {
            id,
            site,
            bytes: i128::from(site.outstanding_bytes) - i128::from(before),
        }
    }

    /// Those that grew most. One that was shown stays while it is among twice as many, so that sites that grow alike do
    /// not take turns, each a new time series.
    fn choose<'a>(&self, mut sites: Vec<Grown<'a>>) -> Vec<Grown<'a>> {
        sites.retain(|grown| grown.site.outstanding_count > 0);
        sites.sort_by_key(|grown| Reverse((grown.bytes, grown.site.outstanding_bytes)));
        sites.truncate(2 * self.most);
        // Stable: within each half the order stays.
        sites.sort_by_key(|grown| !self.shown.contains(&grown.id));
        sites.truncate(self.most);
        sites
    }
}

struct Grown<'a> {
    id: String,
    site: &'a Site,
    bytes: i128,
}

impl Grown<'_> {
    fn labels(&self) -> Labels {
        vec![
            ("site", self.id.clone()),
            ("kind", kind_word(self.site.kind).to_owned()),
        ]
    }
}

fn write_sites(sites: &[Grown<'_>], sheet: &mut Sheet) {
    let mut gauge = |name, help, of: &dyn Fn(&Grown<'_>) -> f64| {
        let rows = sites.iter().map(|grown| (grown.labels(), of(grown)));
        sheet.family(Kind::Gauge, name, help, rows);
    };
    gauge(
        "offheap_site_outstanding_bytes",
        "Outstanding bytes of the sites that grow most",
        &|grown| grown.site.outstanding_bytes as f64,
    );
    gauge(
        "offheap_site_outstanding_allocations",
        "Outstanding allocations, regions or streams of the sites that grow most",
        &|grown| grown.site.outstanding_count as f64,
    );
    gauge(
        "offheap_site_growth_bytes",
        "Outstanding bytes gained over the last one to two periods of bundles",
        &|grown| grown.bytes as f64,
    );
    let info = sites.iter().map(|grown| {
        let mut labels = grown.labels();
        labels.push(("top", value(&caller::of(grown.site).to_string())));
        labels.push(("estimated", grown.site.estimated.to_string()));
        (labels, 1.0)
    });
    sheet.family(
        Kind::Gauge,
        "offheap_site_info",
        "Who is to be named for a site: the nearest frame of the application",
        info,
    );
}
