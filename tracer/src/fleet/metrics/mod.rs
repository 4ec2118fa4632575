//! Metrics of one moment, in the text formats of OpenMetrics and Prometheus.
//!
//! See `docs/formats/metrics.md`. Labels are bounded: kinds, reasons, and the sites that grow most, each by a name of 16
//! letters; frames are no labels, but for one in the information about a site.

mod families;
mod growing;
mod plain;
mod sheet;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::capture::Capture;
use crate::fleet::board::Page;
use crate::fleet::push::Pushed;
use growing::Growing;
use sheet::Sheet;

/// What the metrics of a moment are made from.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub capture: &'a Capture,
    /// Mean sampling interval now, in bytes; 0 is exact. The budget may have widened it.
    pub sample_bytes: u64,
    /// How long it took to make the capture.
    pub took: Duration,
    pub bundles: Bundles,
    pub pushed: Option<Pushed>,
}

/// Bundles so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bundles {
    pub written: u64,
    pub failed: u64,
}

/// Makes pages, and remembers what one page alone does not know.
#[derive(Debug)]
pub struct Metrics {
    growing: Growing,
    /// Highest value of each counter: estimates are corrected, counters must not fall.
    counters: BTreeMap<String, f64>,
}

impl Metrics {
    /// For at most so many sites.
    pub fn new(sites: usize) -> Metrics {
        Metrics {
            growing: Growing::new(sites),
            counters: BTreeMap::new(),
        }
    }

    /// From this capture on growth is counted, when another one has been told of.
    pub fn period(&mut self, capture: &Capture) {
        self.growing.period(capture);
    }

    /// # Errors
    /// None but those of writing to memory.
    pub fn page(&mut self, moment: Moment<'_>) -> Result<Page, fmt::Error> {
        let mut sheet = Sheet::default();
        families::write(moment, &mut sheet);
        self.growing.write(moment.capture, &mut sheet);
        sheet.never_less(&mut self.counters);
        let open_metrics = sheet.open_metrics()?;
        let plain = plain::of(&open_metrics);
        Ok(Page {
            open_metrics,
            plain,
        })
    }
}

#[cfg(test)]
mod tests;
