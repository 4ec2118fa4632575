//! How a capture came to be what it is: readings over time, what they say of a site, and ages.

use serde::{Deserialize, Serialize};

/// Readings of the whole process, from the attach to the end. All lists are of one length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Seconds after the attach, ascending; the last is the end of the window.
    pub seconds: Vec<f64>,
    /// Resident bytes of the target.
    pub rss: Vec<u64>,
    /// As `memory.outstanding_bytes`: each byte once.
    pub outstanding: Vec<u64>,
    /// What the sites without a series of their own hold together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<SiteSeries>,
    /// Sites with and without a series of their own.
    #[serde(default)]
    pub sites_with: u64,
    #[serde(default)]
    pub sites_without: u64,
    /// What the lists above say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_trend: Option<Trend>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outstanding_trend: Option<Trend>,
}

/// What a site held at each of [`Series::seconds`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSeries {
    pub bytes: Vec<u64>,
    pub count: Vec<u64>,
}

/// What a series of readings says, with the figures that say it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// None where the readings are too few or show none of the shapes; `reason` says which.
    pub class: Option<TrendClass>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Readings that the figures are made of, and the time that they span, in seconds: the last part of the window.
    pub points: u64,
    pub seconds: f64,
    /// Slope: the median of the slopes between all pairs of readings (Theil and Sen). Bytes per hour.
    pub bytes_per_hour: f64,
    /// The slope's confidence interval of 95 %.
    pub low: f64,
    pub high: f64,
    /// Probability of so clear a rise or fall where there is none (Mann and Kendall, two-sided, corrected for readings
    /// that depend on those before).
    pub p: f64,
    /// Share of the pairs of readings in which the later one is higher, of those that differ.
    pub rising: f64,
    /// Falls of more than a third of all that the readings span.
    pub falls: u64,
    /// Share of the ended allocations that the cleaner ended.
    #[serde(default)]
    pub by_cleaner: f64,
}

/// The shape of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrendClass {
    /// More and more, until the end.
    Growing,
    Shrinking,
    /// It rose, or not, and stays where it is.
    Plateau,
    /// Up by steps and down at once, as a collector frees.
    Sawtooth,
    /// The program leaves the end of most to the cleaner thread.
    EndedByCleaner,
    /// It came too late in the window for more to be said.
    New,
}

/// Allocations by how long they have lived, in powers of two of a millisecond: the first number is of those below 1 ms,
/// number `i` of those from 2^(i−1) ms to below 2^i ms; the last that is not zero is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ages {
    /// Outstanding allocations, by their age at the end of the window.
    pub outstanding: Vec<u64>,
    /// Freed ones, by how long they lived.
    pub freed: Vec<u64>,
}
