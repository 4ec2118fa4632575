//! count × size without 128-bit arithmetic, which BPF does not have.

/// The product, or `u64::MAX` where it overflows.
#[inline(always)]
pub fn saturating_product(a: u64, b: u64) -> u64 {
    let (a_high, a_low) = (a >> 32, a & 0xffff_ffff);
    let (b_high, b_low) = (b >> 32, b & 0xffff_ffff);
    if a_high != 0 && b_high != 0 {
        return u64::MAX;
    }
    let cross = a_high * b_low + b_high * a_low;
    let low = a_low * b_low;
    let product = (cross << 32).wrapping_add(low);
    if cross >> 32 != 0 || product < low {
        u64::MAX
    } else {
        product
    }
}

#[cfg(test)]
mod tests {
    use super::saturating_product;

    /// The result is that of arithmetic wide enough never to overflow, over all corners.
    #[test]
    fn agrees_with_wide_arithmetic() {
        let corners = [
            0,
            1,
            2,
            97,
            0xffff_ffff,
            1 << 32,
            (1 << 32) + 1,
            1 << 33,
            1 << 63,
            u64::MAX / 2,
            u64::MAX,
        ];
        for a in corners {
            for b in corners {
                assert_eq!(saturating_product(a, b), a.saturating_mul(b), "{a} × {b}");
            }
        }
    }
}
