//! Medians: other people use the machine, and a mean would count what they do.

use std::fmt;

/// Values of one quantity, one for each round.
#[derive(Clone, Debug, Default)]
pub struct Series(pub Vec<f64>);

/// The median, and what it can be relied on for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// 95 % confidence interval of the median, from the order statistics: it needs no assumption about the noise.
    pub low: f64,
    pub high: f64,
}

impl Series {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Round by round, as a multiple of `base`: what disturbs a round disturbs both.
    pub fn over(&self, base: &Series) -> Series {
        Series(
            self.0
                .iter()
                .zip(&base.0)
                .map(|(value, base)| value / base)
                .collect(),
        )
    }

    pub fn plus(&self, more: &Series) -> Series {
        let pairs = self.0.iter().zip(&more.0);
        Series(pairs.map(|(value, more)| value + more).collect())
    }

    pub fn minus(&self, base: &Series) -> Series {
        Series(
            self.0
                .iter()
                .zip(&base.0)
                .map(|(value, base)| value - base)
                .collect(),
        )
    }

    /// NaN for an empty series.
    pub fn summary(&self) -> Summary {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let at = |rank: f64| {
            let last = count.saturating_sub(1);
            sorted
                .get((rank.max(0.0) as usize).min(last))
                .copied()
                .unwrap_or(f64::NAN)
        };
        let middle = (count as f64 - 1.0) / 2.0;
        // Half the width of the binomial distribution's central 95 %, in ranks.
        let reach = 0.98 * (count as f64).sqrt();
        Summary {
            median: (at(middle.floor()) + at(middle.ceil())) / 2.0,
            min: at(0.0),
            max: at(count as f64),
            low: at((middle - reach).floor()),
            high: at((middle + reach).ceil()),
        }
    }
}

impl Summary {
    /// `median (min–max)` with so many decimals.
    pub fn range(&self, decimals: usize) -> String {
        format!(
            "{:.decimals$} ({:.decimals$}–{:.decimals$})",
            self.median, self.min, self.max
        )
    }

    /// `median (low to high)`, with signs and so many decimals.
    pub fn interval(&self, decimals: usize) -> String {
        format!(
            "{:+.decimals$} ({:+.decimals$} to {:+.decimals$})",
            self.median, self.low, self.high
        )
    }
}

/// `met`, or `not met`.
pub struct Goal(pub bool);

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "met" } else { "**not met**" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The median of known values, and an interval that holds it and is narrower than the range.
    #[test]
    fn summary_of_known_values() {
        let summary = Series((1..=100).rev().map(f64::from).collect()).summary();
        assert_eq!(
            (summary.median, summary.min, summary.max),
            (50.5, 1.0, 100.0)
        );
        assert_eq!((summary.low, summary.high), (40.0, 61.0));
        let two = Series(vec![3.0, 1.0]).summary();
        assert_eq!((two.median, two.low, two.high), (2.0, 1.0, 3.0));
    }

    /// A disturbance that hits both sides of a round leaves the ratio alone.
    #[test]
    fn ratios_are_taken_round_by_round() {
        let base = Series(vec![1.0, 10.0, 2.0]);
        let twice = Series(vec![2.0, 20.0, 4.0]);
        assert_eq!(twice.over(&base).0, [2.0, 2.0, 2.0]);
        assert_eq!(twice.minus(&base).0, [1.0, 10.0, 2.0]);
    }
}
