//! What the drawings have in common: colours that the page's style chooses, and numbers on axes.

use std::io;

use plotters::prelude::RGBColor;

/// Not colours but names of them: the style of the page maps each to one for light, dark and paper.
pub(super) const GRID: RGBColor = RGBColor(0xFE, 0, 0);
pub(super) const AXIS: RGBColor = RGBColor(0xFD, 0, 0);
pub(super) const REST: RGBColor = RGBColor(9, 0, 0);
pub(super) const RSS: RGBColor = RGBColor(10, 0, 0);

/// How many sites have a colour of their own.
pub(super) const COLORED: usize = 8;

/// The colour of a site's rank, from 0.
pub(super) fn color(rank: usize) -> RGBColor {
    RGBColor((rank.min(COLORED - 1) + 1) as u8, 0, 0)
}

/// A unit in which the numbers up to `most` are short, and its size.
pub(super) fn byte_unit(most: f64) -> (f64, &'static str) {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    scaled(most, &units, |_| 1024.0)
}

/// The same for seconds.
pub(super) fn time_unit(most: f64) -> (f64, &'static str) {
    scaled(most, &["s", "min", "h", "d"], |at| [60.0, 60.0, 24.0][at])
}

fn scaled<const N: usize>(
    most: f64,
    units: &[&'static str; N],
    step: fn(usize) -> f64,
) -> (f64, &'static str) {
    let mut size = 1.0;
    for (at, unit) in units.iter().enumerate() {
        if at + 1 == N || most < 2.0 * size * step(at) {
            return (size, unit);
        }
        size *= step(at);
    }
    (size, units[N - 1])
}

/// A number with as many decimals as it needs.
pub(super) fn tick(value: f64) -> String {
    let text = format!("{value:.2}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    match short {
        "-0" => "0".to_owned(),
        short => short.to_owned(),
    }
}

/// Drawing goes to memory, so that nothing but the drawing itself can go wrong.
pub(super) fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("cannot draw a chart: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that axes use the unit in which their numbers are short.
    #[test]
    fn units_fit_the_numbers() {
        assert_eq!(byte_unit(0.0), (1.0, "B"));
        assert_eq!(byte_unit(3_000.0), (1024.0, "KiB"));
        assert_eq!(byte_unit(f64::MAX).1, "EiB");
        assert_eq!(time_unit(100.0), (1.0, "s"));
        assert_eq!(time_unit(300.0), (60.0, "min"));
        assert_eq!(time_unit(1e9), (86_400.0, "d"));
        assert_eq!([tick(0.5), tick(12.0), tick(-0.001)], ["0.5", "12", "0"]);
    }
}
