//! What readings over time say, in words and with the figures that say it.

use crate::ages;
use crate::capture::{Ages, Site, Trend, TrendClass};
use crate::report::clean;
use crate::report::listing::count_estimated;
use crate::report::units::{Delta, Seconds, Share};
use crate::report::verdict::{counted, mark};
use crate::trend::MIN_POINTS;

/// `+4.9 GiB/h`.
pub fn rate(bytes_per_hour: f64) -> String {
    // `as` saturates: an absurd rate is printed as one.
    format!("{}/h", Delta(bytes_per_hour.round() as i128))
}

/// One word for a table.
pub fn word(class: TrendClass) -> &'static str {
    match class {
        TrendClass::Growing => "growing",
        TrendClass::Shrinking => "shrinking",
        TrendClass::Plateau => "plateau",
        TrendClass::Sawtooth => "sawtooth",
        TrendClass::EndedByCleaner => "by cleaner",
        TrendClass::New => "new",
    }
}

/// `growing by +4.9 GiB/h (95 %: +4.7 GiB/h to +5.1 GiB/h; p < 0.001; 60 readings over 29.8 s)`.
pub fn sentence(trend: &Trend, estimated: bool) -> String {
    let sign = mark(estimated);
    let rate = format!("{sign}{}", rate(trend.bytes_per_hour));
    let figures = figures(trend, estimated);
    match trend.class {
        Some(TrendClass::Growing) => format!("growing by {rate} ({figures})"),
        Some(TrendClass::Shrinking) => format!("shrinking by {rate} ({figures})"),
        Some(TrendClass::Plateau) => format!("a plateau, {rate} ({figures})"),
        Some(TrendClass::Sawtooth) => {
            let falls = counted(trend.falls, "fall");
            format!("a sawtooth with {falls} ({figures})")
        }
        Some(TrendClass::EndedByCleaner) => {
            let share = Share {
                part: trend.by_cleaner,
                whole: 1.0,
            };
            let rest = if trend.points > 0 {
                format!("; {figures}")
            } else {
                String::new()
            };
            format!("ended late: {share} of what ended, by the cleaner{rest}")
        }
        Some(TrendClass::New) => {
            format!("new: not there before the last {}", Seconds(trend.seconds))
        }
        None => format!(
            "no class: {}",
            clean::name(trend.reason.as_deref().unwrap_or("not judged"))
        ),
    }
}

/// What a class stands on.
pub fn figures(trend: &Trend, estimated: bool) -> String {
    let sign = mark(estimated);
    let p = match trend.p {
        p if p < 0.001 => "p < 0.001".to_owned(),
        p => format!("p = {p:.3}"),
    };
    format!(
        "95 %: {sign}{} to {sign}{}; {p}; {} over {}",
        rate(trend.low),
        rate(trend.high),
        counted(trend.points, "reading"),
        Seconds(trend.seconds)
    )
}

/// `half of the outstanding are younger than 4.1 s, 9 in 10 than 16.4 s; 9 in 10 of the freed lived less than 8 ms`: to the
/// next power of two. None where nothing is known of ages.
pub fn ages(site: &Site) -> Option<String> {
    let parts: Vec<String> = age_parts(site).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The same as the sentences that there are: of the outstanding, and of the freed.
pub fn age_parts(site: &Site) -> impl Iterator<Item = String> {
    let sign = mark(count_estimated(site));
    let parts = site.ages.as_ref().map(|Ages { outstanding, freed }| {
        [
            quantiles(outstanding, "of the outstanding are younger", sign),
            quantiles(freed, "of the freed lived less", sign),
        ]
    });
    parts.into_iter().flatten().flatten()
}

fn quantiles(counts: &[u64], verb: &str, sign: &str) -> Option<String> {
    let at = |share| ages::quantile_seconds(counts, share);
    let than = |seconds: f64| match seconds.is_finite() {
        true => format!("than {sign}{}", Seconds(seconds)),
        false => "than can be told".to_owned(),
    };
    let (half, most) = (at(0.5)?, at(0.9)?);
    if half == most {
        return Some(format!("9 in 10 {verb} {}", than(most)));
    }
    Some(format!(
        "half {verb} {}, 9 in 10 {}",
        than(half),
        than(most)
    ))
}

/// Bytes per hour where one number says how a site develops: not of what goes up and down, or has only come.
pub fn slope(site: &Site) -> Option<f64> {
    let trend = site.trend.as_ref().filter(|trend| trend.seconds > 0.0)?;
    match trend.class {
        Some(TrendClass::Sawtooth | TrendClass::EndedByCleaner | TrendClass::New) => None,
        Some(TrendClass::Growing | TrendClass::Shrinking | TrendClass::Plateau) | None => {
            (trend.points >= MIN_POINTS as u64).then_some(trend.bytes_per_hour)
        }
    }
}
