//! Stacks that differ in addresses alone look the same once they are named, and are one site.
//!
//! So are stacks that differ in how the JVM ran a method: while a program warms up, one place in it is interpreted, then
//! compiled, then inlined. The frames of the biggest part stand for all.

use std::cmp::Reverse;
use std::hash::{BuildHasher, Hash};

use crate::capture::{Frame, Site};
use crate::fast_map::FastMap;
use crate::readings;

/// Adds up the sites that look the same; the biggest come first.
pub fn merge(mut sites: Vec<Site>) -> Vec<Site> {
    sites.sort_by_key(|site| Reverse(site.outstanding_bytes));
    let mut merged: Vec<Site> = Vec::with_capacity(sites.len());
    // Names take more memory than anything else in here: none is copied to find its like.
    let mut places: FastMap<u64, Vec<usize>> = FastMap::default();
    let hasher = places.hasher().clone();
    for site in sites {
        let place = places.entry(hasher.hash_one(look(&site))).or_default();
        let mut same = place.iter().copied();
        match same.find(|&index| look(&merged[index]) == look(&site)) {
            Some(index) => add(&mut merged[index], &site),
            None => {
                place.push(merged.len());
                merged.push(site);
            }
        }
    }
    merged.sort_by_key(|site| Reverse(site.outstanding_bytes));
    merged
}

/// What a reader can tell sites apart by.
fn look(site: &Site) -> impl Hash + Eq + use<'_> {
    let frames: Vec<_> = site.frames.iter().map(|frame| frame_look(frame)).collect();
    let (pair, thread) = (site.pair.as_deref(), site.thread.as_deref());
    (site.kind, pair, thread, &site.stack_end, frames)
}

fn frame_look(frame: &Frame) -> impl Hash + Eq + use<'_> {
    let (module, file) = (frame.module.as_deref(), frame.file.as_deref());
    (frame.name.as_str(), module, file, frame.line)
}

fn add(sum: &mut Site, site: &Site) {
    add_over_time(sum, site);
    let (had, has) = (sum.outstanding_count > 0, site.outstanding_count > 0);
    if has {
        sum.oldest_seconds = sum.oldest_seconds.max(site.oldest_seconds);
        sum.newest_seconds = match had {
            true => sum.newest_seconds.min(site.newest_seconds),
            false => site.newest_seconds,
        };
    }
    sum.estimated |= site.estimated;
    sum.outstanding_bytes += site.outstanding_bytes;
    sum.outstanding_count += site.outstanding_count;
    sum.recorded_bytes += site.recorded_bytes;
    sum.recorded_count += site.recorded_count;
    sum.allocated_bytes += site.allocated_bytes;
    sum.allocated_count += site.allocated_count;
    sum.freed_by_cleaner += site.freed_by_cleaner;
    sum.freed_count += site.freed_count;
    sum.reserved_bytes += site.reserved_bytes;
    sum.blocks += site.blocks;
    sum.growth_bytes = match (sum.growth_bytes, site.growth_bytes) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    };
}

/// Series are of one length, since they are of one run.
fn add_over_time(sum: &mut Site, site: &Site) {
    if let Some(series) = &site.series {
        readings::add(sum.series.get_or_insert_default(), series);
    }
    if let Some(ages) = &site.ages {
        let sum = sum.ages.get_or_insert_default();
        readings::add_values(&mut sum.outstanding, &ages.outstanding);
        readings::add_values(&mut sum.freed, &ages.freed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capture::{FrameKind, SiteKind};

    fn site(kind: SiteKind, bytes: u64, ages: (f64, f64), frame: &str) -> Site {
        let text = format!(
            r#"{{"kind": "malloc", "estimated": false, "outstanding_bytes": {bytes}, "outstanding_count": 1,
               "allocated_bytes": {bytes}, "allocated_count": 2, "oldest_seconds": {}, "newest_seconds": {},
               "freed_by_cleaner": 0, "stack_end": "root", "growth_bytes": 7,
               "series": {{"bytes": [0, {bytes}], "count": [0, 1]}}, "ages": {{"outstanding": [1], "freed": [0, 1]}},
               "frames": [{{"name": "{frame}", "kind": "native"}}]}}"#,
            ages.0, ages.1,
        );
        Site {
            kind,
            ..serde_json::from_str(&text).unwrap()
        }
    }

    /// Equal looks add up, and keep the oldest and the newest age; other kinds and frames stay apart.
    #[test]
    fn equal_looks_add_up() {
        let merged = merge(vec![
            site(SiteKind::Malloc, 97, (5.0, 4.0), "a"),
            site(SiteKind::Malloc, 101, (9.0, 1.0), "a"),
            site(SiteKind::Malloc, 103, (1.0, 1.0), "b"),
            site(SiteKind::Deflate, 107, (1.0, 1.0), "a"),
        ]);
        let bytes: Vec<u64> = merged.iter().map(|site| site.outstanding_bytes).collect();
        assert_eq!(bytes, [198, 107, 103]);
        let first = &merged[0];
        assert_eq!(
            (
                first.outstanding_count,
                first.allocated_count,
                first.growth_bytes
            ),
            (2, 4, Some(14))
        );
        assert_eq!((first.oldest_seconds, first.newest_seconds), (9.0, 1.0));
        let series = first.series.as_ref().unwrap();
        assert_eq!(
            (&series.bytes[..], &series.count[..]),
            (&[0, 198][..], &[0, 2][..])
        );
        let ages = first.ages.as_ref().unwrap();
        assert_eq!(
            (&ages.outstanding[..], &ages.freed[..]),
            (&[2][..], &[0, 2][..])
        );
    }

    /// How the JVM ran a method does not make another site; the biggest part's frames are shown.
    #[test]
    fn the_kind_of_a_frame_is_no_difference() {
        let mut compiled = site(SiteKind::Deflate, 101, (1.0, 1.0), "a");
        Arc::make_mut(&mut compiled.frames[0]).kind = FrameKind::C2;
        let merged = merge(vec![site(SiteKind::Deflate, 97, (1.0, 1.0), "a"), compiled]);
        assert_eq!(
            (
                merged.len(),
                merged[0].outstanding_bytes,
                merged[0].frames[0].kind
            ),
            (1, 198, FrameKind::C2)
        );
    }

    /// A site without an outstanding allocation has no ages to give.
    #[test]
    fn ages_come_from_outstanding_allocations_only() {
        let empty = Site {
            outstanding_count: 0,
            ..site(SiteKind::Malloc, 0, (0.0, 0.0), "a")
        };
        let merged = merge(vec![empty, site(SiteKind::Malloc, 97, (5.0, 4.0), "a")]);
        assert_eq!(
            (merged[0].oldest_seconds, merged[0].newest_seconds),
            (5.0, 4.0)
        );
    }
}
