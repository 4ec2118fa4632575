//! How long allocations live, in powers of two of a millisecond.

/// 31 powers of two of a millisecond reach 24 days; what lives longer is in the last one as well.
pub const BUCKETS: usize = 32;

/// Allocations by age, by sample weight. The first number is of those below 1 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram([f64; BUCKETS]);

impl Histogram {
    /// Counts allocations that have lived for so many nanoseconds.
    pub fn add(&mut self, nanoseconds: u64, count: f64) {
        if let Some(sum) = self.0.get_mut(bucket(nanoseconds / 1_000_000)) {
            *sum += count;
        }
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Rounded; without the zeroes at the end.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts: Vec<u64> = self.0.iter().map(|count| count.round() as u64).collect();
        while counts.last() == Some(&0) {
            counts.pop();
        }
        counts
    }
}

fn bucket(milliseconds: u64) -> usize {
    let bits = u64::BITS - milliseconds.leading_zeros();
    (bits as usize).min(BUCKETS - 1)
}

/// Seconds below which the allocations of a bucket have lived; infinite for the last.
pub fn upper_seconds(bucket: usize) -> f64 {
    if bucket + 1 >= BUCKETS {
        return f64::INFINITY;
    }
    (1u64 << bucket) as f64 / 1000.0
}

/// Seconds below which this share of the allocations has lived, to the next power of two; none without allocations.
pub fn quantile_seconds(counts: &[u64], share: f64) -> Option<f64> {
    let total = counts
        .iter()
        .fold(0u128, |sum, &count| sum + u128::from(count));
    let wanted = total as f64 * share;
    let mut sum = 0u128;
    for (bucket, &count) in counts.iter().enumerate() {
        sum += u128::from(count);
        if count > 0 && sum as f64 >= wanted {
            return Some(upper_seconds(bucket));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Each age is in the bucket whose bounds it lies between, at the bounds themselves too.
    #[test]
    fn ages_lie_between_the_bounds_of_their_bucket() {
        for age in [
            0,
            1,
            MS - 1,
            MS,
            2 * MS - 1,
            2 * MS,
            1000 * MS,
            3_600_000 * MS,
            u64::MAX,
        ] {
            let mut ages = Histogram::default();
            ages.add(age, 1.0);
            let bucket = ages.counts().len() - 1;
            let seconds = age as f64 / 1e9;
            assert!(seconds < upper_seconds(bucket), "{age} in {bucket}");
            assert!(bucket == 0 || seconds >= upper_seconds(bucket - 1) || bucket == BUCKETS - 1);
        }
        let mut day = Histogram::default();
        day.add(86_400_000 * MS, 3.0);
        assert_eq!(
            day.counts().len() - 1,
            27,
            "2^26 ms are 18.6 h, 2^27 ms are 37.3 h"
        );
    }

    /// Weights add up, are rounded once, and an empty histogram has no numbers and no quantile.
    #[test]
    fn weights_add_up() {
        let mut ages = Histogram::default();
        assert_eq!(
            (ages.counts(), quantile_seconds(&ages.counts(), 0.5)),
            (vec![], None)
        );
        (0..10).for_each(|_| ages.add(5 * MS, 1.4));
        ages.add(100 * MS, 1.0);
        assert_eq!(ages.counts(), [0, 0, 0, 14, 0, 0, 0, 1]);
        assert_eq!(quantile_seconds(&ages.counts(), 0.5), Some(0.008));
        assert_eq!(quantile_seconds(&ages.counts(), 1.0), Some(0.128));
        assert!(quantile_seconds(&[u64::MAX; 40], 1.0).is_some_and(f64::is_infinite));
    }
}
