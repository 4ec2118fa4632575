//! The order in which sites are listed, and what stands for what.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use crate::capture::{Capture, Frame, Site, SiteKind};
use crate::report::{Sort, accounting, evolution};

/// Sites in the order of a list.
#[derive(Clone, Debug)]
pub struct Listing<'a> {
    pub sites: Vec<&'a Site>,
    /// Malloc sites that are left out, since a stream site with the same callers stands for them.
    pub hidden: u64,
}

impl<'a> Listing<'a> {
    /// Puts sites of the capture in order.
    pub fn new(capture: &Capture, shown: &[&'a Site], order: Sort) -> Self {
        let mut sites = shown.to_vec();
        let hidden = hide_blocks_of_streams(&mut sites);
        sort(capture, &mut sites, order);
        Listing { sites, hidden }
    }
}

/// A Deflater takes its blocks at six places of zlib: without this, six sites would say what one says better.
fn hide_blocks_of_streams(sites: &mut Vec<&Site>) -> u64 {
    let streams: HashSet<&[Arc<Frame>]> = sites
        .iter()
        .filter(|site| is_stream(site) && site.outstanding_count > 0)
        .filter_map(|site| accounting::below_zlib(site))
        .collect();
    let before = sites.len();
    sites.retain(|site| {
        let callers = accounting::below_zlib(site);
        !(accounting::is_zlib_memory(site) && callers.is_some_and(|c| streams.contains(c)))
    });
    (before - sites.len()) as u64
}

/// By bytes, what the allocator maps for itself comes last: its contents are other sites.
fn sort(capture: &Capture, sites: &mut [&Site], order: Sort) {
    let hooks = &capture.settings.hooks;
    let (bytes, count) = (
        |s: &Site| s.outstanding_bytes,
        |s: &Site| s.outstanding_count,
    );
    match order {
        Sort::Bytes => sites.sort_by_key(|site| {
            let arena = site.kind == SiteKind::Mmap && !accounting::counts(site, hooks);
            (arena, Reverse((bytes(site), count(site))))
        }),
        Sort::Count => sites.sort_by_key(|site| Reverse((count(site), bytes(site)))),
        Sort::Growth => sites.sort_by(|a, b| {
            let slope = |site: &Site| evolution::slope(site).unwrap_or(0.0);
            let rest = |site: &Site| (site.growth_bytes, bytes(site));
            let by_slope = slope(b).total_cmp(&slope(a));
            by_slope.then_with(|| rest(b).cmp(&rest(a)))
        }),
        Sort::Age => sites.sort_by(|a, b| b.oldest_seconds.total_cmp(&a.oldest_seconds)),
    }
}

pub fn is_stream(site: &Site) -> bool {
    matches!(site.kind, SiteKind::Deflate | SiteKind::Inflate)
}

/// Something that is opened and closed, not allocated and freed.
pub fn is_opened(site: &Site) -> bool {
    is_stream(site) || site.kind == SiteKind::Pair
}

/// Streams and objects are always counted; sampling estimates blocks.
pub fn count_estimated(site: &Site) -> bool {
    site.estimated && !is_opened(site)
}

/// The word for a kind, as in `capture.json`.
pub fn kind_word(kind: SiteKind) -> &'static str {
    match kind {
        SiteKind::Deflate => "deflate",
        SiteKind::Inflate => "inflate",
        SiteKind::Malloc => "malloc",
        SiteKind::Mmap => "mmap",
        SiteKind::Fault => "fault",
        SiteKind::Pair => "pair",
    }
}
