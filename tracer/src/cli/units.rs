//! Durations and sizes as people type them. Strict: what can't be meant is refused and not guessed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::budget::Budget;
use crate::threshold::Level;

/// Longest duration that is accepted; keeps every later sum of times away from overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// `30` and `30s` are seconds; `500ms`, `5m`, `1h`, `2d`.
///
/// # Errors
/// A sentence for the user, in lower case.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!(
                "unknown unit `{unit}`: use ms, s, m, h or d, as in 500ms, 30s, 5m"
            ));
        }
    };
    let duration = number
        .checked_mul(millis_per_unit)
        .map(Duration::from_millis);
    duration
        .filter(|d| *d <= LONGEST)
        .ok_or_else(|| "too long: at most 366d".to_owned())
}

/// A duration that is not zero.
///
/// # Errors
/// As [`duration`].
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        positive => Ok(positive),
    }
}

/// Percent, with or without its sign: `5`, `2.5%`; `none` is no limit.
///
/// # Errors
/// A sentence for the user, in lower case.
pub fn budget(text: &str) -> Result<Budget, String> {
    if text == "none" {
        return Ok(Budget::Unlimited);
    }
    let number = text.strip_suffix('%').unwrap_or(text);
    let percent = number.parse().ok().filter(|percent| {
        // Written out, since `inf`, `nan` and `1e9` are numbers to the parser.
        number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
            && *percent > 0.0
    });
    percent
        .map(Budget::Percent)
        .ok_or_else(|| "a percentage above 0, as in 5 or 2.5, or `none`".to_owned())
}

/// Plain bytes, or with a binary unit: `4096`, `512k`, `1m`, `2g`.
///
/// # Errors
/// A sentence for the user, in lower case.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => {
            return Err(format!(
                "unknown unit `{unit}`: use k, m or g (powers of 1024), as in 512k"
            ));
        }
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large for a number of bytes".to_owned())
}

/// A size, where `exact` is another word for `0`.
///
/// # Errors
/// As [`size`].
pub fn sample_bytes(text: &str) -> Result<u64, String> {
    if text == "exact" {
        Ok(0)
    } else {
        size(text).map_err(|why| format!("{why}; 0 or exact records everything"))
    }
}

/// `80%` of the limit of the target's cgroup, or a size.
///
/// # Errors
/// A sentence for the user, in lower case.
pub fn level(text: &str) -> Result<Level, String> {
    let Some(percent) = text.strip_suffix('%') else {
        return match size(text)? {
            0 => Err("must be more than zero".to_owned()),
            bytes => Ok(Level::Bytes(bytes)),
        };
    };
    let percent = percent.parse().ok();
    percent
        .filter(|percent| (1..=100).contains(percent))
        .map(Level::Percent)
        .ok_or_else(|| "a percentage from 1% to 100%, or a size as in 2g".to_owned())
}

/// Digits and the rest.
fn split(text: &str) -> Result<(u64, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(if text.starts_with('-') {
            "must not be negative".to_owned()
        } else {
            "must begin with a number".to_owned()
        });
    }
    if unit.starts_with(['.', ',']) {
        return Err("whole numbers only: use a smaller unit".to_owned());
    }
    number
        .parse()
        .map(|n| (n, unit))
        .map_err(|_| "number too large".to_owned())
}

/// An address to listen on: a port alone is one of 127.0.0.1.
///
/// # Errors
/// Says which forms are understood.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| {
        "use a port, or an address and a port, as in 8080, 127.0.0.1:8080, [::1]:8080".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every documented spelling means what the manual says.
    #[test]
    fn documented_spellings() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(size("512k"), Ok(512 << 10));
        assert_eq!(size("1M"), Ok(1 << 20));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(sample_bytes("exact"), Ok(0));
        assert_eq!(sample_bytes("512k"), Ok(512 << 10));
    }

    /// Each kind of nonsense is refused with a reason of its own.
    #[test]
    fn nonsense_is_named() {
        assert!(duration("-5").unwrap_err().contains("negative"));
        assert!(duration("").unwrap_err().contains("number"));
        assert!(duration("1.5h").unwrap_err().contains("whole numbers"));
        assert!(duration("5 m").unwrap_err().contains("unknown unit ` m`"));
        assert!(duration("5M").unwrap_err().contains("unknown unit `M`"));
        assert!(duration("1h30m").unwrap_err().contains("unknown unit"));
        assert!(duration("367d").unwrap_err().contains("too long"));
        assert!(
            duration("99999999999999999999")
                .unwrap_err()
                .contains("too large")
        );
        assert!(
            positive_duration("0ms")
                .unwrap_err()
                .contains("longer than zero")
        );
        assert!(size("17179869184g").unwrap_err().contains("too large"));
        assert!(size("1kb").unwrap_err().contains("unknown unit `kb`"));
        assert!(size("exact").unwrap_err().contains("number"));
        assert!(sample_bytes("all").unwrap_err().contains("exact"));
    }

    proptest! {
        /// No input at all makes the parsers panic, and what they accept is within bounds.
        #[test]
        fn any_text_is_survived(text in ".*") {
            if let Ok(accepted) = duration(&text) {
                prop_assert!(accepted <= LONGEST);
            }
            let _ = size(&text);
        }

        /// Near misses too: numbers of any length with any short suffix.
        #[test]
        fn any_number_is_survived(text in "[0-9]{1,24}[a-zA-Z.]{0,3}") {
            if let Ok(accepted) = duration(&text) {
                prop_assert!(accepted <= LONGEST);
            }
            let _ = size(&text);
        }

        /// A size in a unit is the number times the unit.
        #[test]
        fn sizes_scale(number in 0u64..1 << 34) {
            prop_assert_eq!(size(&format!("{number}k")), Ok(number << 10));
            prop_assert_eq!(size(&format!("{number}g")), Ok(number << 30));
        }

        /// Seconds and milliseconds agree.
        #[test]
        fn durations_scale(seconds in 0u64..31_000_000) {
            prop_assert_eq!(duration(&format!("{seconds}s")), duration(&format!("{seconds}000ms")));
        }
    }

    /// Proves that a port alone is one of the loopback address.
    #[test]
    fn ports_are_local() {
        assert_eq!(
            listen("8080"),
            "127.0.0.1:8080".parse().map_err(|_| String::new())
        );
        assert_eq!(
            listen("[::1]:0"),
            "[::1]:0".parse().map_err(|_| String::new())
        );
        for wrong in ["", "65536", "localhost:80", "1.2.3.4"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }
}
