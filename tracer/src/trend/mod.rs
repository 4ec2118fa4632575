//! What a series of readings says of a site: grows, stays, goes up and down. Pure.
//!
//! All that was allocated before the attach is unknown, so that every site begins at nothing and rises at first. What
//! counts is therefore the last half of the readings: whether they rise is a test that needs no shape and is not misled by
//! single readings (Mann and Kendall), how fast is the median of the slopes of all pairs (Theil and Sen), and whether it goes
//! on is what the last quarter of all says.

mod slope;
mod teeth;

use crate::capture::{Trend, TrendClass};
use slope::Slope;

/// Below this many readings nothing is said.
pub const MIN_POINTS: usize = 8;
/// A rise or fall that comes about without one less often than this is one.
const SURE: f64 = 0.01;
/// A rise over the last half that is less than this share of the highest reading is none.
const NEGLIGIBLE: f64 = 0.02;
/// A level that moves by less than this share over the last half stays where it is.
const STEADY: f64 = 0.15;
/// The last quarter has to rise with this share of the last half's slope for the rise to go on.
const GOES_ON: f64 = 0.6;
/// A site that was there for less than this share of the window is new.
const NEW: f64 = 0.2;
/// What this share of was ended by the cleaner is left to it.
const LEFT_TO_CLEANER: f64 = 0.5;

/// Judges readings, which are ascending in time; `by_cleaner` is the share of the ended allocations that the cleaner
/// ended, from 0 to 1.
pub fn judge(seconds: &[f64], values: &[u64], by_cleaner: f64) -> Trend {
    let all = seconds.len().min(values.len());
    let Some(first) = values[..all].iter().position(|&value| value > 0) else {
        return without(all, by_cleaner, "nothing was outstanding at any reading");
    };
    let seconds = &seconds[..all];
    let (times, values): (&[f64], Vec<f64>) = (
        &seconds[first..],
        values[first..all]
            .iter()
            .map(|&value| value as f64)
            .collect(),
    );
    let is_new = first > 0 && all >= MIN_POINTS && span(times) < NEW * span(seconds);
    if times.len() < MIN_POINTS || span(times) <= 0.0 {
        let reason = format!("{} readings are too few", times.len());
        let mut trend = without(times.len(), by_cleaner, &reason);
        trend.seconds = span(times);
        if is_new && trend.class.is_none() {
            (trend.class, trend.reason) = (Some(TrendClass::New), None);
        }
        return trend;
    }
    judge_points(times, &values, is_new, by_cleaner)
}

fn judge_points(times: &[f64], values: &[f64], is_new: bool, by_cleaner: f64) -> Trend {
    let half = last(times, values, 2);
    let slope = Slope::of(half.0, half.1);
    let settled = last_part(times, values, times.len() * 3 / 4);
    let teeth = teeth::of(settled.1);
    let shape = match (is_new, teeth.are_sawtooth()) {
        (true, _) => Ok(TrendClass::New),
        (false, true) if teeth.climb() => Ok(TrendClass::Growing),
        (false, true) => Ok(TrendClass::Sawtooth),
        (false, false) => shape(times, values, &slope),
    };
    let mut trend = Trend {
        points: half.0.len() as u64,
        seconds: span(half.0),
        bytes_per_hour: slope.median * 3600.0,
        low: slope.low * 3600.0,
        high: slope.high * 3600.0,
        p: slope.p,
        rising: slope.rising,
        falls: teeth.falls,
        by_cleaner,
        ..Trend::default()
    };
    match shape {
        Ok(TrendClass::Growing) => trend.class = Some(TrendClass::Growing),
        _ if by_cleaner >= LEFT_TO_CLEANER => trend.class = Some(TrendClass::EndedByCleaner),
        Ok(class) => trend.class = Some(class),
        Err(reason) => trend.reason = Some(reason.to_owned()),
    }
    trend
}

/// Growing, shrinking or a plateau, where there are no teeth; else why none of them.
fn shape(times: &[f64], values: &[f64], slope: &Slope) -> Result<TrendClass, &'static str> {
    let (half_times, half) = last(times, values, 2);
    if values.last() == Some(&0.0) {
        return Err("nothing is left");
    }
    let peak = values.iter().copied().fold(0.0, f64::max);
    let level = slope::median(&mut half.to_vec());
    let change = slope.median * span(half_times);
    if slope.p < SURE && change.abs() >= NEGLIGIBLE * peak {
        let (quarter_times, quarter) = last(times, values, 4);
        let end = Slope::of(quarter_times, quarter);
        let goes_on = match change > 0.0 {
            true => end.median >= GOES_ON * slope.median || end.high >= slope.median,
            false => end.median <= GOES_ON * slope.median || end.low <= slope.median,
        };
        if goes_on {
            return Ok(match change > 0.0 {
                true => TrendClass::Growing,
                false => TrendClass::Shrinking,
            });
        }
        return match change.abs() <= STEADY * level {
            true => Ok(TrendClass::Plateau),
            false => Err("it slows down, and has not come to an end"),
        };
    }
    match change.abs() <= STEADY * level {
        true => Ok(TrendClass::Plateau),
        false => Err("the readings scatter too much"),
    }
}

/// Without a shape; what the cleaner ended was counted and not read from a series.
fn without(points: usize, by_cleaner: f64, reason: &str) -> Trend {
    let left = by_cleaner >= LEFT_TO_CLEANER;
    Trend {
        class: left.then_some(TrendClass::EndedByCleaner),
        reason: (!left).then(|| reason.to_owned()),
        points: points as u64,
        by_cleaner,
        p: 1.0,
        ..Trend::default()
    }
}

/// One part in so many at the end, but not less than can be judged.
fn last<'a>(times: &'a [f64], values: &'a [f64], part: usize) -> (&'a [f64], &'a [f64]) {
    last_part(times, values, times.len() / part)
}

fn last_part<'a>(times: &'a [f64], values: &'a [f64], points: usize) -> (&'a [f64], &'a [f64]) {
    let from = times.len() - points.max(MIN_POINTS).min(times.len());
    (&times[from..], &values[from..])
}

fn span(times: &[f64]) -> f64 {
    match (times.first(), times.last()) {
        (Some(first), Some(last)) => last - first,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
