//! Falls at once after rises by steps: the sign of a collector.

/// A fall is one of more than this share of the whole range.
const TOOTH: f64 = 1.0 / 3.0;

/// The falls of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Teeth {
    pub falls: u64,
    /// Readings that are higher, and lower, than the one before.
    up: u64,
    down: u64,
    /// The lowest reading after each fall.
    lows: Vec<f64>,
    /// Mean depth of a fall.
    depth: f64,
}

/// Follows the readings from turn to turn.
pub fn of(values: &[f64]) -> Teeth {
    let mut teeth = Teeth::default();
    for pair in values.windows(2) {
        teeth.up += u64::from(pair[1] > pair[0]);
        teeth.down += u64::from(pair[1] < pair[0]);
    }
    let (low, high) = values
        .iter()
        .fold((f64::MAX, 0.0), |(low, high): (f64, f64), &value| {
            (low.min(value), high.max(value))
        });
    let enough = TOOTH * (high - low);
    if enough <= 0.0 {
        return teeth;
    }
    let (mut top, mut bottom, mut falling) = (values[0], values[0], false);
    for &value in values {
        if falling {
            bottom = bottom.min(value);
            if value - bottom > enough {
                teeth.lows.push(bottom);
                (falling, top) = (false, value);
            }
        } else {
            top = top.max(value);
            if top - value > enough {
                teeth.falls += 1;
                teeth.depth += top - value;
                (falling, bottom) = (true, value);
            }
        }
    }
    if falling {
        teeth.lows.push(bottom);
    }
    teeth.depth /= teeth.falls.max(1) as f64;
    teeth
}

impl Teeth {
    /// At least two falls, and clearly more readings that rise than that fall: what scatters falls as often as it rises.
    pub fn are_sawtooth(&self) -> bool {
        let (up, down) = (self.up as f64, self.down as f64);
        self.falls >= 2 && up - down >= 2.0 * (up + down).sqrt()
    }

    /// Each fall ends higher than the one before, and the last much higher than the first: what stays grows.
    pub fn climb(&self) -> bool {
        let rise = match (self.lows.first(), self.lows.last()) {
            (Some(first), Some(last)) => last - first,
            _ => 0.0,
        };
        self.lows.is_sorted_by(|one, next| one < next) && rise >= 0.5 * self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sawtooth(periods: usize, points: usize, climb: f64) -> Vec<f64> {
        let values =
            (0..periods * points).map(|at| (at % points) as f64 + (at / points) as f64 * climb);
        values.collect()
    }

    /// Falls are counted, whatever they stand on, and a climbing series is told from a level one.
    #[test]
    fn falls_are_counted() {
        let level = of(&sawtooth(5, 8, 0.0));
        assert_eq!(
            (level.falls, level.lows.as_slice(), level.depth),
            (4, [0.0; 4].as_slice(), 7.0)
        );
        assert!(level.are_sawtooth() && !level.climb());
        let climbing = of(&sawtooth(5, 8, 1.0));
        assert_eq!(
            (climbing.falls, climbing.lows.as_slice()),
            (4, [1.0, 2.0, 3.0, 4.0].as_slice())
        );
        assert!(climbing.are_sawtooth() && climbing.climb());
    }

    /// One fall, waves that fall as slowly as they rise, equal readings and none are no sawtooth.
    #[test]
    fn other_falls_are_none() {
        let wave: Vec<f64> = (0..80).map(|at| 10.0 + (at as f64 / 4.0).sin()).collect();
        let once: Vec<f64> = sawtooth(2, 20, 0.0);
        for values in [wave, once, vec![5.0; 20], vec![], vec![1.0]] {
            assert!(!of(&values).are_sawtooth(), "{values:?}");
        }
    }
}
