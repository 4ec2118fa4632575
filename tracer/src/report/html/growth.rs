//! What a site's growth is: a difference of readings, where there are some.

use crate::capture::{Capture, Site};

/// Fewer readings than this have no two halves.
const FEWEST: usize = 4;

/// Where growth comes from in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// From this reading to the last.
    Readings { from: usize },
    /// As the capture has it.
    SnapshotBefore,
}

impl Growth {
    /// None where the capture has one reading only.
    pub(super) fn of(capture: &Capture) -> Option<Growth> {
        let seconds = capture
            .series
            .as_ref()
            .map_or(&[][..], |series| &series.seconds);
        if let (Some(end), true) = (seconds.last(), seconds.len() >= FEWEST) {
            let from = seconds.iter().position(|at| *at >= end / 2.0)?;
            return Some(Growth::Readings { from });
        }
        let known = capture.sites.iter().any(|site| site.growth_bytes.is_some());
        known.then_some(Growth::SnapshotBefore)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Growth::Readings { .. } => "growth in the second half of the window",
            Growth::SnapshotBefore => "growth since the snapshot before",
        }
    }

    /// Bytes gained; none for sites that have no readings of their own.
    pub(super) fn bytes(self, site: &Site) -> Option<i64> {
        match self {
            Growth::SnapshotBefore => site.growth_bytes,
            Growth::Readings { from } => {
                let bytes = &site.series.as_ref()?.bytes;
                let difference = i128::from(*bytes.last()?) - i128::from(*bytes.get(from)?);
                i64::try_from(difference).ok()
            }
        }
    }
}
