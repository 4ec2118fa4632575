//! The attach cookie: which attach point fired, and where its arguments are.
//!
//! Registers have numbers. 0 to 5 hold the arguments at a function's entry; on x86_64, 6 to 14 are rax, r10, r11, rbx, rbp
//! and r12 to r15, for probes further on.

/// "No such argument".
pub const NO_ARGUMENT: u32 = 0xf;

/// Packed into the 64 bits that `bpf_get_attach_cookie` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Cookie(pub u64);

/// The cookie's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Index of the attach point, below [`MAX_POINTS`](crate::config::MAX_POINTS).
    pub point: u32,
    /// Register with the key: the pointer to free, the old block of a realloc, the stream.
    pub key: u32,
    /// Register with the size.
    pub size: u32,
    /// Register with what the size is multiplied with.
    pub count: u32,
    /// Register with the address that the result is stored through (`posix_memalign`).
    pub out: u32,
    /// Registers with zlib's windowBits and memLevel.
    pub window_bits: u32,
    pub mem_level: u32,
    /// The function never calls another hooked function: an unsampled call needs no in-flight entry.
    pub leaf: u32,
    /// Number of the pair of functions, below [`MAX_PAIRS`](crate::config::MAX_PAIRS); 0 for functions of none.
    pub pair: u32,
    /// What is to be known of a pair's function, of [`pair`].
    pub flags: u32,
}

/// How the functions of a pair name their objects, as bits.
pub mod pair {
    /// The object is not in the register, but where that points to.
    pub const INDIRECT: u32 = 1;
    /// The object is a 32-bit number: of its register, the lower half. Negative ones are failures.
    pub const NARROW: u32 = 2;
    /// The call has failed unless it returns 0.
    pub const IF_ZERO: u32 = 4;
    /// The call has failed if it returns 0, whatever the object is.
    pub const IF_NOT_ZERO: u32 = 8;
    /// Opening what is open is one more reference to it.
    pub const COUNTED: u32 = 16;
}

impl Cookie {
    pub const fn new(fields: Fields) -> Self {
        Cookie(
            (fields.point & 0xffff) as u64
                | ((fields.key & 0xf) as u64) << 16
                | ((fields.size & 0xf) as u64) << 20
                | ((fields.count & 0xf) as u64) << 24
                | ((fields.out & 0xf) as u64) << 28
                | ((fields.window_bits & 0xf) as u64) << 32
                | ((fields.mem_level & 0xf) as u64) << 36
                | ((fields.leaf & 1) as u64) << 40
                | ((fields.pair & 0xff) as u64) << 41
                | ((fields.flags & 0x1f) as u64) << 49,
        )
    }

    #[inline(always)]
    pub const fn point(self) -> u32 {
        (self.0 & 0xffff) as u32
    }

    #[inline(always)]
    pub const fn key(self) -> u32 {
        (self.0 >> 16 & 0xf) as u32
    }

    #[inline(always)]
    pub const fn size(self) -> u32 {
        (self.0 >> 20 & 0xf) as u32
    }

    #[inline(always)]
    pub const fn count(self) -> u32 {
        (self.0 >> 24 & 0xf) as u32
    }

    #[inline(always)]
    pub const fn out(self) -> u32 {
        (self.0 >> 28 & 0xf) as u32
    }

    #[inline(always)]
    pub const fn window_bits(self) -> u32 {
        (self.0 >> 32 & 0xf) as u32
    }

    #[inline(always)]
    pub const fn mem_level(self) -> u32 {
        (self.0 >> 36 & 0xf) as u32
    }

    #[inline(always)]
    pub const fn leaf(self) -> bool {
        self.0 >> 40 & 1 == 1
    }

    #[inline(always)]
    pub const fn pair(self) -> u64 {
        self.0 >> 41 & 0xff
    }

    /// Whether a bit of [`pair`] is set.
    #[inline(always)]
    pub const fn has(self, flag: u32) -> bool {
        self.0 >> 49 & flag as u64 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field comes back as it went in, and no field touches another.
    #[test]
    fn fields_survive_packing() {
        let fields = Fields {
            point: 1023,
            key: 1,
            size: 2,
            count: 3,
            out: 4,
            window_bits: 5,
            mem_level: 6,
            leaf: 1,
            pair: 255,
            flags: pair::NARROW | pair::COUNTED,
        };
        let cookie = Cookie::new(fields);
        assert_eq!(
            (cookie.point(), cookie.key(), cookie.size(), cookie.count()),
            (1023, 1, 2, 3)
        );
        assert_eq!(
            (
                cookie.out(),
                cookie.window_bits(),
                cookie.mem_level(),
                cookie.leaf()
            ),
            (4, 5, 6, true)
        );
        assert_eq!(cookie.pair(), 255);
        let set = [
            pair::INDIRECT,
            pair::NARROW,
            pair::IF_ZERO,
            pair::IF_NOT_ZERO,
            pair::COUNTED,
        ]
        .map(|flag| cookie.has(flag));
        assert_eq!(set, [false, true, false, false, true]);
    }
}
