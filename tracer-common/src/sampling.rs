//! Sampling by bytes, in integers: the same arithmetic decides in the kernel and weighs in userspace, so that the
//! estimate is unbiased with respect to the decision that was really taken.
//!
//! An allocation of S bytes at mean interval R is kept with probability p = 1 − e^(−S/R) and stands for S/p bytes and
//! 1/p objects. Blocks of R bytes and more are always kept and stand for themselves.

/// Probability 1, in units of 2⁻³².
pub const ONE: u64 = 1 << 32;

/// Biggest mean interval in bytes; keeps every product below 2⁶⁴.
pub const MAX_INTERVAL: u64 = 1 << 31;

/// Terms of the series for 1 − e^(−x); the first one left out is below 2⁻³² for x ≤ 1.
const TERMS: u64 = 12;

/// The probability that an allocation of `size` bytes is kept, in units of 2⁻³²; at least 1 of them.
///
/// `interval` is the mean sampling interval in bytes, at most [`MAX_INTERVAL`]; 0 keeps everything.
#[inline(always)]
pub fn probability(size: u64, interval: u64) -> u64 {
    if interval == 0 || size >= interval {
        return ONE;
    }
    let x = (at_least_one(size) << 32) / interval;
    let mut factor = ONE;
    let mut k = TERMS;
    while k >= 2 {
        factor = ONE - ((x * factor) >> 32) / k;
        k -= 1;
    }
    at_least_one((x * factor) >> 32)
}

/// Is the allocation kept? `random` is uniform over all 32-bit numbers.
#[inline(always)]
pub fn keep(size: u64, interval: u64, random: u32) -> bool {
    if interval == 0 || size >= interval {
        return true;
    }
    // p never exceeds x = S/R: most calls are turned down by this product, without a division.
    let random = random as u64;
    if random * interval >= at_least_one(size) << 32 {
        return false;
    }
    random < probability(size, interval)
}

/// `malloc(0)` takes memory too.
#[inline(always)]
fn at_least_one(value: u64) -> u64 {
    if value == 0 { 1 } else { value }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    const INTERVAL: u64 = 512 * 1024;

    /// The integer arithmetic follows 1 − e^(−S/R) to within a few units of its last place.
    #[test]
    fn probability_follows_the_exponential() {
        for size in [1, 2, 16, 64, 97, 1021, 65_521, 262_139, 524_287] {
            let exact = -(-(size as f64) / INTERVAL as f64).exp_m1();
            let got = probability(size, INTERVAL) as f64 / ONE as f64;
            assert!(
                (got - exact).abs() < 16.0 / ONE as f64 + exact * 1e-4,
                "{size}: {got} against {exact}"
            );
        }
    }

    /// Bigger blocks are never less likely to be kept, and from the interval on they always are.
    #[test]
    fn probability_grows_with_the_size() {
        let mut last = 0;
        for size in (0..INTERVAL + 4096).step_by(1021) {
            let p = probability(size, INTERVAL);
            assert!(p >= last, "{size}");
            last = p;
        }
        assert_eq!(probability(INTERVAL, INTERVAL), ONE);
        assert_eq!(probability(u64::MAX, MAX_INTERVAL), ONE);
        assert_eq!(probability(0, 0), ONE);
    }

    /// The quick rejection never turns down what the exact comparison would keep.
    #[test]
    fn keep_agrees_with_probability() {
        for size in [0, 1, 64, 4099, 524_287] {
            let p = probability(size, INTERVAL);
            for random in [0, 1, p - 1, p, p + 1, u32::MAX as u64] {
                let random = random.min(u32::MAX as u64) as u32;
                assert_eq!(
                    keep(size, INTERVAL, random),
                    (random as u64) < p,
                    "{size} {random}"
                );
            }
        }
    }
}
