//! Numbers as people read them.

use std::fmt;

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes in binary units with three significant digits: `512 KiB`, `1.21 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = 0;
        // A value that would be rounded up to 1024 belongs to the next unit.
        while value >= 1023.5 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(out, "{} {}", three_digits(value), UNITS[unit])
    }
}

/// A signed difference of bytes: `+310 MiB`, `-4 KiB`, `+0 B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta(pub i128);

impl fmt::Display for Delta {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = u64::try_from(self.0.unsigned_abs()).unwrap_or(u64::MAX);
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(out, "{sign}{}", Bytes(magnitude))
    }
}

/// An integer with thousands separators: `1,204`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        out.pad(&grouped)
    }
}

/// A duration in seconds: `40 ms`, `29.8 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(pub f64);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.max(0.0);
        if seconds < 1.0 {
            return write!(out, "{:.0} ms", seconds * 1000.0);
        }
        if seconds < 60.0 {
            return write!(out, "{} s", three_digits(seconds));
        }
        // `as` saturates, so an absurd age is printed as an absurd age.
        let whole = seconds as u64;
        let (minutes, hours, days) = (whole / 60, whole / 3_600, whole / 86_400);
        match (days, hours) {
            (0, 0) => write!(out, "{minutes} min {} s", whole % 60),
            (0, _) => write!(out, "{hours} h {} min", minutes % 60),
            _ => write!(out, "{} d {} h", Count(days), hours % 24),
        }
    }
}

/// A share as a percentage; an empty whole gives `n/a`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub part: f64,
    pub whole: f64,
}

impl Share {
    pub fn of(part: u64, whole: u64) -> Self {
        Share {
            part: part as f64,
            whole: whole as f64,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole <= 0.0 {
            return out.write_str("n/a");
        }
        let percent = 100.0 * self.part / self.whole;
        match percent {
            p if p > 0.0 && p < 0.1 => out.write_str("<0.1 %"),
            // Rounding must not turn "almost all" into "all".
            p if p < 100.0 && p > 99.9 => out.write_str("99.9 %"),
            p if p < 100.0 => write!(out, "{} %", trimmed(p, 1)),
            p => write!(out, "{p:.0} %"),
        }
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => trimmed(v, 0),
        v if v >= 9.995 => trimmed(v, 1),
        v => trimmed(v, 2),
    }
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that bytes keep three digits and never show 1024 of a unit.
    #[test]
    fn bytes_are_short_and_binary() {
        let cases = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (524_288, "512 KiB"),
            (1_048_575, "1 MiB"),
            (322_917_632, "308 MiB"),
            (1_300_000_000, "1.21 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    /// Proves that differences keep their sign, also at the ends of the range.
    #[test]
    fn deltas_are_signed() {
        assert_eq!(Delta(0).to_string(), "+0 B");
        assert_eq!(Delta(-4_096).to_string(), "-4 KiB");
        assert_eq!(Delta(i128::from(u64::MAX)).to_string(), "+16 EiB");
        assert_eq!(Delta(i128::MIN).to_string(), "-16 EiB");
    }

    /// Proves that thousands are grouped from the right.
    #[test]
    fn counts_are_grouped() {
        assert_eq!(Count(0).to_string(), "0");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Count(1_204).to_string(), "1,204");
        assert_eq!(Count(u64::MAX).to_string(), "18,446,744,073,709,551,615");
    }

    /// Proves that durations pick readable units and survive absurd values.
    #[test]
    fn durations_are_readable() {
        let cases = [
            (0.04, "40 ms"),
            (29.84, "29.8 s"),
            (303.0, "5 min 3 s"),
            (7_500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
            (-1.0, "0 ms"),
            (f64::NAN, "0 ms"),
        ];
        for (seconds, text) in cases {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
        assert!(Seconds(1e300).to_string().ends_with(" h"));
    }

    /// Proves that a share is never rounded to nothing or to all.
    #[test]
    fn shares_do_not_round_away() {
        assert_eq!(Share::of(1, 0).to_string(), "n/a");
        assert_eq!(Share::of(0, 5).to_string(), "0 %");
        assert_eq!(Share::of(1, 100_000).to_string(), "<0.1 %");
        assert_eq!(Share::of(99_999, 100_000).to_string(), "99.9 %");
        assert_eq!(Share::of(1, 3).to_string(), "33.3 %");
        assert_eq!(Share::of(3, 3).to_string(), "100 %");
    }
}
