//! Each shape is made with noise, many times over, and the wrong classes are counted.

use super::*;

/// Numbers that are the same in each run (Steele, Lea and Flood's SplitMix).
struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between these, evenly.
    fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About 0 with deviation 1, as good as normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.within(0.0, 1.0)).sum::<f64>() - 6.0
    }
}

/// What was made, and what it has to be called.
#[derive(Clone, Copy, Debug)]
enum Made {
    /// Steadily, from the attach on.
    Line,
    /// The same in lumps.
    Stairs,
    /// Much at the beginning, and then less, but on and on.
    AfterWarmUp,
    /// With a collector that frees part of it.
    UnderTeeth,
    /// Comes near a level.
    WarmUp,
    /// At its level from the beginning.
    Level,
    /// About a level, each reading near the one before.
    Wander,
    /// Collected.
    Teeth,
    /// Collected, over what stays.
    TeethOnBase,
    /// Freed bit by bit.
    Decline,
    /// Comes at the end.
    Late,
}

const ALL: [(Made, TrendClass); 11] = [
    (Made::Line, TrendClass::Growing),
    (Made::Stairs, TrendClass::Growing),
    (Made::AfterWarmUp, TrendClass::Growing),
    (Made::UnderTeeth, TrendClass::Growing),
    (Made::WarmUp, TrendClass::Plateau),
    (Made::Level, TrendClass::Plateau),
    (Made::Wander, TrendClass::Plateau),
    (Made::Teeth, TrendClass::Sawtooth),
    (Made::TeethOnBase, TrendClass::Sawtooth),
    (Made::Decline, TrendClass::Shrinking),
    (Made::Late, TrendClass::New),
];
const LENGTHS: [usize; 4] = [24, 40, 70, 121];
/// Deviation of the noise, as a share of what the shape spans.
const NOISES: [f64; 4] = [0.0, 0.01, 0.03, 0.06];
const ROUNDS: usize = 50;

fn make(made: Made, length: usize, noise: f64, chance: &mut Chance) -> (Vec<f64>, Vec<u64>) {
    let size = 10f64.powf(chance.within(4.0, 10.0));
    let window = 10f64.powf(chance.within(0.5, 5.0));
    let n = length as f64;
    let period = chance.within(5.0, n / 4.0).round();
    let parameter = chance.within(0.0, 1.0);
    let offset = (chance.within(0.0, period)).floor();
    let mut wander = 0.0;
    let mut seconds = Vec::with_capacity(length);
    let mut values = Vec::with_capacity(length);
    for at in 0..length {
        // Readings are never quite evenly spaced.
        seconds.push((at as f64 + chance.within(0.0, 0.3)) / n * window);
        let x = at as f64 / n;
        let tooth = ((at as f64 + offset) % period) / period;
        let value = match made {
            Made::Wander => {
                wander = 0.6 * wander + 0.8 * noise * chance.normal();
                1.0 + wander
            }
            _ => shape_at(made, x, tooth, parameter),
        };
        let disturbed = match value > 0.0 {
            true => value + noise * chance.normal(),
            false => value,
        };
        values.push((disturbed.max(0.0) * size) as u64);
    }
    (seconds, values)
}

/// Without noise, at that part of the window and of a tooth, both from 0 to 1.
fn shape_at(made: Made, x: f64, tooth: f64, parameter: f64) -> f64 {
    match made {
        Made::Line => x,
        Made::Stairs => (x * 10.0).floor() / 10.0,
        Made::AfterWarmUp => (1.0 - (-x * 30.0).exp()) + x * (0.4 + 0.8 * parameter),
        Made::UnderTeeth => x + 0.15 * tooth,
        Made::WarmUp => 1.0 - (-x * (6.0 + 20.0 * parameter)).exp(),
        Made::Level | Made::Wander => 1.0,
        Made::Teeth => tooth,
        Made::TeethOnBase => (x * 10.0).min(1.0) * (0.5 + 2.0 * parameter) + tooth,
        Made::Decline => 1.2 - x,
        Made::Late if x < 0.85 => 0.0,
        Made::Late => x,
    }
}

/// Of thousands of series of each shape, with noise of several strengths and of several lengths, few get a wrong class, and
/// few get none.
#[test]
fn wrong_classes_are_few() {
    let mut chance = Chance(5);
    let (mut wrong, mut unclear, mut total) = (0, 0, 0);
    for (made, truth) in ALL {
        let (mut wrong_here, mut unclear_here, mut here) = (0, 0, 0);
        for length in LENGTHS {
            for noise in NOISES {
                for _ in 0..ROUNDS {
                    let (seconds, values) = make(made, length, noise, &mut chance);
                    here += 1;
                    match judge(&seconds, &values, 0.0).class {
                        None => unclear_here += 1,
                        Some(class) if class == truth => {}
                        Some(_) => wrong_here += 1,
                    }
                }
            }
        }
        println!("{made:?}: of {here}, {wrong_here} wrong and {unclear_here} without a class");
        assert!(
            wrong_here * 25 <= here,
            "{made:?}: {wrong_here} of {here} are wrong"
        );
        assert!(
            unclear_here * 20 <= here,
            "{made:?}: {unclear_here} of {here} have no class"
        );
        (wrong, unclear, total) = (wrong + wrong_here, unclear + unclear_here, total + here);
    }
    println!("of {total} series {wrong} got a wrong class and {unclear} none");
    assert!(wrong * 100 <= total, "{wrong} of {total} are wrong");
}

/// What does not grow is called growing in less than one case in a hundred: that is the class that alarms.
#[test]
fn false_alarms_are_rare() {
    let mut chance = Chance(7);
    let (mut alarms, mut total) = (0, 0);
    for (made, _) in ALL
        .into_iter()
        .filter(|(_, truth)| *truth != TrendClass::Growing)
    {
        for length in LENGTHS {
            for noise in NOISES {
                for _ in 0..ROUNDS {
                    let (seconds, values) = make(made, length, noise, &mut chance);
                    let class = judge(&seconds, &values, 0.0).class;
                    (alarms, total) = (
                        alarms + u32::from(class == Some(TrendClass::Growing)),
                        total + 1,
                    );
                }
            }
        }
    }
    println!("{alarms} of {total} series that don't grow were called growing");
    assert!(alarms * 100 <= total, "{alarms} of {total}");
}

/// The slope of what grows is the one that was made, and its interval holds it in most cases.
#[test]
fn slopes_are_true() {
    let mut chance = Chance(11);
    let (mut held, mut total) = (0, 0);
    for length in LENGTHS {
        for noise in NOISES {
            for _ in 0..ROUNDS {
                let (per_hour, window) = (1e9, 3600.0);
                let n = length as f64;
                let seconds: Vec<f64> = (0..length).map(|at| at as f64 / n * window).collect();
                let values: Vec<u64> = seconds
                    .iter()
                    .map(|time| (per_hour * (time / 3600.0 + 0.5 + noise * chance.normal())) as u64)
                    .collect();
                let trend = judge(&seconds, &values, 0.0);
                assert!(
                    (trend.bytes_per_hour / per_hour - 1.0).abs() < 0.05 + 8.0 * noise,
                    "{noise}: {trend:?}"
                );
                assert!(trend.low <= trend.bytes_per_hour && trend.bytes_per_hour <= trend.high);
                let off = 0.001 * per_hour;
                held += u32::from(trend.low - off <= per_hour && per_hour <= trend.high + off);
                total += 1;
            }
        }
    }
    println!("{held} of {total} intervals hold the slope");
    assert!(
        f64::from(held) >= 0.9 * f64::from(total),
        "{held} of {total}"
    );
}

/// Too few readings have no class, and say so; what the cleaner ended is known without a series.
#[test]
fn too_few_readings_say_so() {
    for count in 0..MIN_POINTS {
        let seconds: Vec<f64> = (0..count).map(|at| at as f64).collect();
        let values: Vec<u64> = (0..count).map(|at| at as u64 * 1000 + 1).collect();
        let trend = judge(&seconds, &values, 0.0);
        assert_eq!(trend.class, None, "{count}");
        assert!(trend.reason.is_some(), "{count}");
        assert_eq!(
            judge(&seconds, &values, 0.9).class,
            Some(TrendClass::EndedByCleaner)
        );
    }
    let nothing = judge(&[1.0; 20], &[0; 20], 0.0);
    assert_eq!(
        nothing.reason.as_deref(),
        Some("nothing was outstanding at any reading")
    );
}

/// Teeth that the cleaner makes are the cleaner's; what grows in spite of it is growing.
#[test]
fn what_the_cleaner_ends_is_its_own() {
    let mut chance = Chance(13);
    let (seconds, values) = make(Made::Teeth, 70, 0.01, &mut chance);
    assert_eq!(
        judge(&seconds, &values, 0.9).class,
        Some(TrendClass::EndedByCleaner)
    );
    let (seconds, values) = make(Made::Line, 70, 0.01, &mut chance);
    assert_eq!(
        judge(&seconds, &values, 0.9).class,
        Some(TrendClass::Growing)
    );
}

/// Readings that make no sense are judged without a panic.
#[test]
fn any_readings_are_survived() {
    let senseless: [(&[f64], &[u64]); 5] = [
        (&[f64::NAN; 30], &[u64::MAX; 30]),
        (&[f64::INFINITY; 30], &[1; 30]),
        (&[0.0; 12], &[5; 40]),
        (
            &[1e300, -1e300, 5.0, 0.0, 1.0, 2.0, 3.0, 4.0, 9.0],
            &[u64::MAX, 0, 1, 2, 3, 4, 5, 6, u64::MAX],
        ),
        (&[], &[7]),
    ];
    for (seconds, values) in senseless {
        judge(seconds, values, f64::NAN);
    }
}
