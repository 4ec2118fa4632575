//! Readings over time, written down by hand.

use super::fixture::server;
use crate::capture::*;

/// The server with readings over time: RocksDB grows, Deflaters rise and fall, the JVM's heap stays, Inflaters are left to
/// the cleaner.
pub fn course() -> Capture {
    const MOMENTS: u64 = 61;
    let mut capture = server();
    let seconds: Vec<f64> = (0..MOMENTS).map(|at| at as f64 / 2.0).collect();
    let rss = (0..MOMENTS).map(|at| (1 << 30) + at * (400 << 20) / 60);
    for site in &mut capture.sites {
        let (bytes, count) = (site.outstanding_bytes, site.outstanding_count);
        let share = |at: u64| match (site.kind, site.owner) {
            (SiteKind::Deflate, _) => (at % 12 + 1) as f64 / 12.0,
            (SiteKind::Mmap, _) => 1.0,
            _ => at as f64 / 60.0,
        };
        let part = |of: u64| {
            (0..MOMENTS)
                .map(|at| (of as f64 * share(at)) as u64)
                .collect()
        };
        site.series = (bytes > 0).then(|| SiteSeries {
            bytes: part(bytes),
            count: part(count),
        });
        site.ages = Some(Ages {
            outstanding: vec![
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                count / 4,
                0,
                count / 4,
                0,
                count - count / 4 * 2,
            ],
            freed: vec![
                site.freed_count * 9 / 10,
                0,
                0,
                0,
                site.freed_count - site.freed_count * 9 / 10,
            ],
        });
    }
    capture.series = Some(crate::readings::finish(
        seconds,
        rss.collect(),
        Default::default(),
        &mut capture.sites,
        &capture.settings.hooks,
    ));
    capture
}

/// A trend, readings and ages that make no sense.
pub fn make_hostile_site(hostile: &mut Site) {
    hostile.trend = Some(Trend {
        reason: Some("because\x1b[2J\n".to_owned()),
        bytes_per_hour: f64::MAX,
        ..Trend::default()
    });
    hostile.series = Some(SiteSeries {
        bytes: vec![u64::MAX; 3],
        count: Vec::new(),
    });
    hostile.ages = Some(Ages {
        outstanding: vec![u64::MAX; 100],
        freed: vec![0; 100],
    });
}

/// The same of a whole capture.
pub fn make_hostile(capture: &mut Capture) {
    capture.series = Some(Series {
        seconds: vec![-1e300, 1e300],
        rss_trend: Some(Trend {
            class: Some(TrendClass::Growing),
            bytes_per_hour: -1e300,
            low: f64::MIN,
            high: f64::MAX,
            points: u64::MAX,
            falls: u64::MAX,
            ..Trend::default()
        }),
        ..Series::default()
    });
}
