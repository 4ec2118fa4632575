//! The regions that the target has mapped since the attach.
//!
//! Regions are cut, replaced, moved and resized; each part keeps the stack that made it. Pure: what is reserved and what
//! is committed is decided later, from the target's current mappings.

use std::collections::BTreeMap;

/// Bytes of address space with one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<T> {
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Who mapped it.
    pub origin: T,
}

impl<T> Region<T> {
    pub fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// Regions by address; they never overlap.
#[derive(Clone, Debug)]
pub struct Regions<T> {
    by_start: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for Regions<T> {
    fn default() -> Self {
        Regions {
            by_start: BTreeMap::new(),
        }
    }
}

/// The kernel maps whole pages (4 KiB on x86_64; bigger pages only make this finer than it need be).
const PAGE: u64 = 4096;

impl<T: Clone> Regions<T> {
    /// `mmap` has returned `start`: whatever was there is gone. Returns what that was.
    pub fn map(&mut self, start: u64, length: u64, origin: T) -> Vec<Region<T>> {
        let Some(end) = end_of(start, length) else {
            return Vec::new();
        };
        let replaced = self.unmap(start, end - start);
        self.by_start.insert(start, (end, origin));
        replaced
    }

    /// `munmap` was called: cuts every region that the range touches. Returns what was removed.
    pub fn unmap(&mut self, start: u64, length: u64) -> Vec<Region<T>> {
        let Some(end) = end_of(start, length) else {
            return Vec::new();
        };
        let touched = self.overlapping(start, end);
        let mut removed = Vec::with_capacity(touched.len());
        for region in touched {
            self.by_start.remove(&region.start);
            if region.start < start {
                self.by_start
                    .insert(region.start, (start, region.origin.clone()));
            }
            if region.end > end {
                self.by_start
                    .insert(end, (region.end, region.origin.clone()));
            }
            let (start, end) = (region.start.max(start), region.end.min(end));
            removed.push(Region {
                start,
                end,
                origin: region.origin,
            });
        }
        removed
    }

    /// `mremap` has returned `start`: what was tracked at the old place moves with its origin; only what it grew by is
    /// the work of this call. Returns what is gone: what was cut off, and what was at the new place before.
    pub fn remap(&mut self, old: (u64, u64), start: u64, length: u64, origin: T) -> Vec<Region<T>> {
        let (old_start, old_length) = old;
        let moved = self.unmap(old_start, old_length);
        let Some(end) = end_of(start, length) else {
            return moved;
        };
        let mut gone = self.unmap(start, end - start);
        for region in moved {
            let offset = region.start - old_start;
            let from = start.saturating_add(offset);
            let to = from.saturating_add(region.length());
            if from < end {
                self.by_start
                    .insert(from, (to.min(end), region.origin.clone()));
            }
            if to > end {
                let start = from.max(end);
                gone.push(Region {
                    start,
                    end: to,
                    origin: region.origin,
                });
            }
        }
        let grown_from = start.saturating_add(pages(old_length));
        if old_length > 0 && grown_from < end {
            self.by_start.insert(grown_from, (end, origin));
        }
        gone
    }

    pub fn iter(&self) -> impl Iterator<Item = Region<T>> + '_ {
        self.by_start.iter().map(|(&start, (end, origin))| Region {
            start,
            end: *end,
            origin: origin.clone(),
        })
    }

    pub fn origins_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_start.values_mut().map(|(_, origin)| origin)
    }

    fn overlapping(&self, start: u64, end: u64) -> Vec<Region<T>> {
        let before = self
            .by_start
            .range(..start)
            .next_back()
            .filter(|(_, (region_end, _))| *region_end > start);
        let within = self.by_start.range(start..end);
        let touched = before.into_iter().chain(within);
        touched
            .map(|(&start, (end, origin))| Region {
                start,
                end: *end,
                origin: origin.clone(),
            })
            .collect()
    }
}

/// The length in whole pages, as the kernel maps it.
pub fn pages(length: u64) -> u64 {
    length.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
}

/// None for an empty range, an unaligned start or one that wraps around: the kernel refuses those.
fn end_of(start: u64, length: u64) -> Option<u64> {
    let valid = length > 0 && start.is_multiple_of(PAGE);
    valid.then(|| start.checked_add(pages(length))).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(regions: &Regions<char>) -> Vec<(u64, u64, char)> {
        regions
            .iter()
            .map(|r| (r.start / PAGE, r.end / PAGE, r.origin))
            .collect()
    }

    fn mapped(ranges: &[(u64, u64, char)]) -> Regions<char> {
        let mut regions = Regions::default();
        for &(start, end, origin) in ranges {
            regions.map(start * PAGE, (end - start) * PAGE, origin);
        }
        regions
    }

    /// A hole in the middle leaves both ends with their origin.
    #[test]
    fn unmapping_the_middle_leaves_two_parts() {
        let mut regions = mapped(&[(10, 20, 'a')]);
        regions.unmap(13 * PAGE, 2 * PAGE);
        assert_eq!(listed(&regions), [(10, 13, 'a'), (15, 20, 'a')]);
    }

    /// One call may end several regions and cut the outer ones.
    #[test]
    fn unmapping_spans_regions() {
        let mut regions = mapped(&[(10, 20, 'a'), (20, 30, 'b'), (40, 50, 'c')]);
        let removed = regions.unmap(15 * PAGE, 30 * PAGE);
        assert_eq!(listed(&regions), [(10, 15, 'a'), (45, 50, 'c')]);
        assert_eq!(removed.iter().map(Region::length).sum::<u64>(), 20 * PAGE);
    }

    /// MAP_FIXED takes over what it covers.
    #[test]
    fn mapping_over_a_region_replaces_the_covered_part() {
        let regions = mapped(&[(10, 20, 'a'), (12, 14, 'b')]);
        assert_eq!(
            listed(&regions),
            [(10, 12, 'a'), (12, 14, 'b'), (14, 20, 'a')]
        );
    }

    /// A moved region keeps its origin; what it grew by belongs to the mremap.
    #[test]
    fn moving_keeps_the_origin_and_growth_has_its_own() {
        let mut regions = mapped(&[(10, 20, 'a')]);
        regions.remap((10 * PAGE, 10 * PAGE), 100 * PAGE, 15 * PAGE, 'm');
        assert_eq!(listed(&regions), [(100, 110, 'a'), (110, 115, 'm')]);
        regions.remap((100 * PAGE, 15 * PAGE), 100 * PAGE, 4 * PAGE, 'n');
        assert_eq!(listed(&regions), [(100, 104, 'a')]);
    }

    /// Lengths are rounded up to pages, and calls that the kernel refuses change nothing.
    #[test]
    fn odd_ranges_follow_the_kernel() {
        let mut regions = Regions::default();
        regions.map(10 * PAGE, 1, 'a');
        assert_eq!(listed(&regions), [(10, 11, 'a')]);
        regions.unmap(10 * PAGE + 1, PAGE);
        regions.unmap(10 * PAGE, 0);
        regions.map(u64::MAX - PAGE + 1, u64::MAX, 'x');
        assert_eq!(listed(&regions), [(10, 11, 'a')]);
    }

    proptest! {
        /// Whatever is called, every page has the origin that a page-by-page model says.
        #[test]
        fn agrees_with_a_model(calls in proptest::collection::vec((0u8..3, 0u64..40, 1u64..12, 0u64..40, 1u64..12), 1..60)) {
            let mut regions = Regions::default();
            let mut model: BTreeMap<u64, usize> = BTreeMap::new();
            for (number, (what, start, length, to, new_length)) in calls.into_iter().enumerate() {
                match what {
                    0 => {
                        regions.map(start * PAGE, length * PAGE, number);
                        model.extend((start..start + length).map(|page| (page, number)));
                    }
                    1 => {
                        regions.unmap(start * PAGE, length * PAGE);
                        model.retain(|page, _| !(start..start + length).contains(page));
                    }
                    _ => {
                        regions.remap((start * PAGE, length * PAGE), to * PAGE, new_length * PAGE, number);
                        let old: Vec<_> = (start..start + length).map(|page| model.remove(&page)).collect();
                        for page in 0..new_length {
                            model.remove(&(to + page));
                            let origin = if page < length { old[page as usize] } else { Some(number) };
                            origin.map(|origin| model.insert(to + page, origin));
                        }
                    }
                }
            }
            let pages: BTreeMap<u64, usize> = regions
                .iter()
                .flat_map(|r| (r.start / PAGE..r.end / PAGE).map(move |page| (page, r.origin)))
                .collect();
            prop_assert_eq!(pages, model);
        }
    }
}
