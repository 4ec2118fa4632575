//! From readings to the series and trends of a capture.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::capture::{Series, Site, SiteKind, SiteSeries};
use crate::report::accounting;
use crate::trend;

/// Sites with a series of their own: those that held most at once, and then those that gained most in the last half.
const BIGGEST: usize = 150;
const GAINED: usize = 50;

/// Series of the whole, with the last reading at the end. Sites keep theirs, with what it says, if they are among the
/// first; the others are added to `rest`.
pub fn finish(
    mut seconds: Vec<f64>,
    mut rss: Vec<u64>,
    rest: HashMap<SiteKind, SiteSeries>,
    sites: &mut [Site],
    hooks: &[String],
) -> Series {
    let moments = seconds.len().min(rss.len());
    seconds.truncate(moments);
    rss.truncate(moments);
    let mut outstanding = vec![0u64; moments];
    let mut others = SiteSeries::default();
    for (kind, series) in &rest {
        add(&mut others, series);
        if accounting::kind_counts(*kind, None, hooks) {
            add_values(&mut outstanding, &series.bytes);
        }
    }
    for site in sites.iter() {
        if let Some(series) = site.series.as_ref()
            && accounting::counts(site, hooks)
        {
            add_values(&mut outstanding, &series.bytes);
        }
    }
    let chosen = chosen(sites);
    let mut with = 0;
    for (site, chosen) in sites.iter_mut().zip(chosen) {
        if !chosen && let Some(series) = site.series.take() {
            add(&mut others, &series);
        }
        judge(site, &seconds);
        with += u64::from(site.series.is_some());
    }
    Series {
        rss_trend: Some(trend::judge(&seconds, &rss, 0.0)),
        outstanding_trend: Some(trend::judge(&seconds, &outstanding, 0.0)),
        sites_with: with,
        sites_without: sites.len() as u64 - with,
        rest: (!others.bytes.is_empty()).then_some(others),
        seconds,
        rss,
        outstanding,
    }
}

fn judge(site: &mut Site, seconds: &[f64]) {
    let by_cleaner = match site.freed_count.max(site.freed_by_cleaner) {
        0 => 0.0,
        ended => site.freed_by_cleaner as f64 / ended as f64,
    };
    site.trend = match &site.series {
        Some(series) => Some(trend::judge(seconds, &series.bytes, by_cleaner)),
        // What the cleaner ends is known without readings.
        None => Some(trend::judge(&[], &[], by_cleaner)).filter(|trend| trend.class.is_some()),
    };
}

fn chosen(sites: &[Site]) -> Vec<bool> {
    let mut ranked: Vec<(u64, u64, usize)> = sites
        .iter()
        .enumerate()
        .filter_map(|(index, site)| {
            let bytes = &site.series.as_ref()?.bytes;
            let peak = bytes.iter().max().copied()?;
            let middle = bytes.get(bytes.len() / 2).copied()?;
            Some((peak, bytes.last()?.saturating_sub(middle), index))
        })
        .collect();
    ranked.sort_by_key(|&(peak, _, index)| (Reverse(peak), index));
    let mut chosen = vec![false; sites.len()];
    let biggest = ranked.len().min(BIGGEST);
    let mut others = ranked.split_off(biggest);
    others.sort_by_key(|&(_, gained, index)| (Reverse(gained), index));
    for (_, _, index) in ranked.into_iter().chain(others.into_iter().take(GAINED)) {
        chosen[index] = true;
    }
    chosen
}

/// Adds one series to another; what one does not have is zero.
pub fn add(sum: &mut SiteSeries, series: &SiteSeries) {
    add_values(&mut sum.bytes, &series.bytes);
    add_values(&mut sum.count, &series.count);
}

/// The same of plain numbers.
pub fn add_values(sums: &mut Vec<u64>, values: &[u64]) {
    if sums.len() < values.len() {
        sums.resize(values.len(), 0);
    }
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.saturating_add(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Owner, TrendClass};
    use crate::report::tests::fixture;

    fn site(kind: SiteKind, bytes: Vec<u64>) -> Site {
        let count = vec![1; bytes.len()];
        Site {
            series: Some(SiteSeries { bytes, count }),
            ..fixture::site(kind, 1, 1, Vec::new())
        }
    }

    /// Each byte is counted once at each moment, by the rule that the total of the capture obeys.
    #[test]
    fn the_whole_counts_each_byte_once() {
        let mut arena = site(SiteKind::Mmap, vec![1000, 1000]);
        arena.owner = Some(Owner::Allocator);
        let mut sites = [
            site(SiteKind::Malloc, vec![3, 5]),
            site(SiteKind::Deflate, vec![100, 100]),
            arena,
        ];
        let rest = SiteSeries {
            bytes: vec![7, 11],
            count: vec![1, 1],
        };
        let rest = HashMap::from([(SiteKind::Malloc, rest.clone()), (SiteKind::Inflate, rest)]);
        let hooks = ["zlib", "mmap", "malloc"].map(str::to_owned);
        let series = finish(vec![0.0, 1.0], vec![50, 60], rest, &mut sites, &hooks);
        assert_eq!(series.outstanding, [10, 16]);
        assert_eq!(series.rest.unwrap().bytes, [14, 22]);
        assert_eq!((series.sites_with, series.sites_without), (3, 0));
    }

    /// Of many sites the biggest keep their series, and beside them the one that gained most, however small; the others
    /// are in the rest, so that no byte is missing.
    #[test]
    fn few_sites_keep_their_series() {
        let moments = 20u64;
        let level = |size: u64| site(SiteKind::Malloc, vec![size; moments as usize]);
        let mut sites: Vec<Site> = (0..2_000).map(|index| level(1_000_000 + index)).collect();
        let growing = (0..moments).map(|at| at * 1000).collect();
        sites.push(site(SiteKind::Malloc, growing));
        let whole: u64 = sites
            .iter()
            .map(|site| site.series.as_ref().unwrap().bytes[19])
            .sum();
        let seconds: Vec<f64> = (0..moments).map(|at| at as f64).collect();
        let series = finish(seconds, vec![1; 20], HashMap::new(), &mut sites, &[]);
        assert_eq!((series.sites_with, series.sites_without), (200, 1801));
        let grown = sites[2_000].trend.as_ref().unwrap();
        assert_eq!(
            (grown.class, grown.bytes_per_hour),
            (Some(TrendClass::Growing), 3_600_000.0)
        );
        assert_eq!(
            sites[1_999].trend.as_ref().unwrap().class,
            Some(TrendClass::Plateau)
        );
        let kept: u64 = sites
            .iter()
            .filter_map(|site| Some(site.series.as_ref()?.bytes[19]))
            .sum();
        assert_eq!(kept + series.rest.unwrap().bytes[19], whole);
        assert_eq!(series.outstanding[19], whole);
    }
}
