//! What grew between looks, per owner and second.

use serde::{Deserialize, Serialize};

use super::owners::Kind;
use super::reading::Summary;

/// One number that has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub kind: Kind,
    /// From the first look to the last.
    pub bytes: i64,
    pub per_second: f64,
}

/// The owners that changed, what grew most first.
pub fn changes(looks: &[Summary]) -> Vec<Change> {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
        return Vec::new();
    };
    let seconds = last.seconds - first.seconds;
    if looks.len() < 2 || seconds <= 0.0 {
        return Vec::new();
    }
    let mut kinds: Vec<Kind> = [first, last]
        .iter()
        .flat_map(|look| look.owners.iter().map(|owner| owner.kind))
        .collect();
    kinds.sort();
    kinds.dedup();
    let mut changes: Vec<Change> = kinds
        .into_iter()
        .map(|kind| {
            let bytes = difference(resident(last, kind), resident(first, kind));
            Change {
                kind,
                bytes,
                per_second: bytes as f64 / seconds,
            }
        })
        .filter(|change| change.bytes != 0)
        .collect();
    changes.sort_by_key(|change| (-change.bytes, change.kind));
    changes
}

/// Resident bytes of one owner.
pub fn resident(look: &Summary, kind: Kind) -> u64 {
    look.owners
        .iter()
        .find(|owner| owner.kind == kind)
        .map_or(0, |owner| owner.resident)
}

pub fn difference(new: u64, old: u64) -> i64 {
    i64::try_from(i128::from(new) - i128::from(old)).unwrap_or(i64::MAX)
}

/// A number over all looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Series(Vec<u64>);

impl Series {
    pub fn of(looks: &[Summary], value: impl Fn(&Summary) -> u64) -> Series {
        Series(looks.iter().map(value).collect())
    }

    pub fn first(&self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }

    pub fn last(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// What it gained from the first look to the last, never negative.
    pub fn gain(&self) -> u64 {
        self.last().saturating_sub(self.first())
    }

    /// Gained at least `least`, and still going on at the end: what came in the first half only is a warm-up.
    pub fn grows(&self, least: u64) -> bool {
        let gain = self.gain();
        if gain < least.max(1) {
            return false;
        }
        let middle = self.0.get(self.0.len() / 2).copied().unwrap_or(0);
        self.0.len() < 3 || self.last().saturating_sub(middle) >= gain / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step at the beginning is no growth, a slope is; two looks can't tell.
    #[test]
    fn steps_and_slopes() {
        let grows = |numbers: &[u64]| Series(numbers.to_vec()).grows(100);
        assert!(grows(&[0, 50, 100, 150, 200]));
        assert!(grows(&[0, 200]));
        assert!(!grows(&[0, 190, 195, 200, 200]));
        assert!(!grows(&[0, 10, 20, 30, 40]));
        assert!(!grows(&[500, 400, 300]));
        assert!(!grows(&[7]));
    }
}
