//! How fast readings rise, and how sure that is.

/// 97.5 % of a normal distribution are below so many standard deviations.
const Z95: f64 = 1.959_964;
/// Readings that follow the one before more closely than this are taken to follow it so: else a curve, which differs from a
/// line in one piece, would prove nothing.
const MAX_CORRELATION: f64 = 0.75;

/// Of values per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slope {
    /// The median over all pairs of readings (Theil 1950, Sen 1968).
    pub median: f64,
    /// Its confidence interval of 95 %.
    pub low: f64,
    pub high: f64,
    /// Probability of so clear a trend without one, two-sided (Mann 1945, Kendall 1975).
    pub p: f64,
    /// Share of rising pairs, of those that differ.
    pub rising: f64,
}

impl Slope {
    /// Of at most some hundred readings: it looks at all pairs.
    pub fn of(times: &[f64], values: &[f64]) -> Slope {
        let mut slopes = Vec::with_capacity(times.len() * times.len().saturating_sub(1) / 2);
        let (mut up, mut down) = (0u64, 0u64);
        for (i, (time, value)) in times.iter().zip(values).enumerate() {
            for (later, other) in times.iter().zip(values).skip(i + 1) {
                up += u64::from(other > value);
                down += u64::from(other < value);
                if later > time {
                    slopes.push((other - value) / (later - time));
                }
            }
        }
        if slopes.is_empty() {
            return Slope {
                p: 1.0,
                ..Slope::default()
            };
        }
        let median = median(&mut slopes);
        let variance = variance(values) * inflation(times, values, median);
        let score = up as f64 - down as f64;
        let (low, high) = interval(&slopes, variance.sqrt());
        Slope {
            median,
            low,
            high,
            p: two_sided(score, variance),
            rising: match up + down {
                0 => 0.0,
                pairs => up as f64 / pairs as f64,
            },
        }
    }
}

/// Sorts, and returns the middle; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

/// Of Kendall's score where there is no trend; equal values tell nothing.
fn variance(values: &[f64]) -> f64 {
    let part = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let ties = sorted
        .chunk_by(|a, b| a == b)
        .map(|tied| part(tied.len() as f64));
    (part(values.len() as f64) - ties.sum::<f64>()).max(0.0)
}

/// How much less readings tell that depend on those before: (1 + r) / (1 − r), r the correlation of neighbours about the
/// line through them (as of a first-order process).
fn inflation(times: &[f64], values: &[f64], slope: f64) -> f64 {
    let mut rest: Vec<f64> = times
        .iter()
        .zip(values)
        .map(|(time, value)| value - slope * time)
        .collect();
    let mean = rest.iter().sum::<f64>() / rest.len().max(1) as f64;
    rest.iter_mut().for_each(|value| *value -= mean);
    let square: f64 = rest.iter().map(|value| value * value).sum();
    let level = values.iter().copied().fold(0.0, f64::max);
    // Nothing but rounding is left.
    let rounding = 1e-6 * level;
    if square <= rounding * rounding * rest.len() as f64 {
        return 1.0;
    }
    let neighbours: f64 = rest.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let r = (neighbours / square).clamp(0.0, MAX_CORRELATION);
    (1.0 + r) / (1.0 - r)
}

/// Sen 1968: the slopes that lie so many ranks about the middle one.
fn interval(sorted: &[f64], deviation: f64) -> (f64, f64) {
    let reach = (Z95 * deviation / 2.0).ceil();
    let middle = (sorted.len() as f64 - 1.0) / 2.0;
    let at = |rank: f64| sorted[rank.clamp(0.0, sorted.len() as f64 - 1.0) as usize];
    (at((middle - reach).floor()), at((middle + reach).ceil()))
}

fn two_sided(score: f64, variance: f64) -> f64 {
    if variance <= 0.0 || score == 0.0 {
        return 1.0;
    }
    // The score moves in steps of two.
    let z = (score.abs() - 1.0).max(0.0) / variance.sqrt();
    complementary_error(z / std::f64::consts::SQRT_2).min(1.0)
}

/// 1 − erf(x) for x ≥ 0, to within 1.2e-7 of itself: the fitted form of Numerical Recipes, 6.2.
fn complementary_error(x: f64) -> f64 {
    const FACTORS: [f64; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let polynomial = FACTORS.iter().fold(0.0, |sum, factor| sum * t + factor);
    t * (polynomial - x * x).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slope: f64, count: usize) -> (Vec<f64>, Vec<f64>) {
        let times: Vec<f64> = (0..count).map(|i| i as f64).collect();
        let values = times.iter().map(|time| 1000.0 + slope * time).collect();
        (times, values)
    }

    /// The slope of a line is the line's, with nothing to either side, and as sure as so many readings can be.
    #[test]
    fn a_line_is_its_slope() {
        let (times, mut values) = line(97.0, 20);
        let slope = Slope::of(&times, &values);
        assert_eq!(
            (slope.median, slope.low, slope.high, slope.rising),
            (97.0, 97.0, 97.0, 1.0)
        );
        assert!(slope.p < 1e-8, "{}", slope.p);
        // One reading that has nothing to do with it changes next to nothing.
        values[13] = 1e12;
        let outlier = Slope::of(&times, &values);
        assert!(
            (outlier.median - 97.0).abs() < 1.0 && outlier.p < 1e-4,
            "{outlier:?}"
        );
    }

    /// The probability is that of the textbook: 10 rising readings have the score 45, the variance 125 and so z = 3.935.
    #[test]
    fn probabilities_are_those_of_the_normal_distribution() {
        assert_eq!(variance(&line(1.0, 10).1), 125.0);
        assert!(
            (two_sided(45.0, 125.0) / 8.303e-5 - 1.0).abs() < 0.01,
            "{}",
            two_sided(45.0, 125.0)
        );
        for (z, p) in [
            (1.0, 0.317_310_5),
            (1.959_964, 0.05),
            (2.575_829, 0.01),
            (5.0, 5.733e-7),
        ] {
            let got = complementary_error(z / std::f64::consts::SQRT_2);
            assert!((got / p - 1.0).abs() < 1e-3, "{z}: {got}");
        }
    }

    /// Equal readings, one reading and none have no slope and prove nothing.
    #[test]
    fn nothing_is_proven_by_nothing() {
        for (times, values) in [
            (vec![], vec![]),
            (vec![1.0], vec![5.0]),
            line(0.0, 50),
            (vec![3.0; 9], vec![1.0; 9]),
        ] {
            let slope = Slope::of(&times, &values);
            assert_eq!((slope.median, slope.p, slope.rising), (0.0, 1.0, 0.0));
        }
    }
}
