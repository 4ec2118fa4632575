//! Map values: outstanding allocations and open streams.

/// An outstanding block of the malloc family; the key is its address.
///
/// Address and time together name an allocation: an address is handed out again only after it was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveBlock {
    /// Nanoseconds of the monotonic clock at the return of the allocating call.
    pub time: u64,
    /// Requested bytes.
    pub size: u64,
    /// Attach point that recorded it.
    pub point: u16,
    /// Which of the run's sampling intervals it was chosen under.
    pub level: u16,
    /// Thread, as the kernel's first namespace numbers it.
    pub tid: u32,
}

const _: () = assert!(size_of::<LiveBlock>() == 24);

/// An open zlib stream; the key is the address of its `z_stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveStream {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// Stack pointer at the opening call: tells a nested `deflateInit2_` from a second stream.
    pub sp: u64,
    pub point: u32,
    pub tid: u32,
    /// zlib's parameters as passed; 0 where the function has none.
    pub window_bits: i32,
    pub mem_level: i32,
}

const _: () = assert!(size_of::<LiveStream>() == 32);

/// Names an object that a pair of functions opens and closes. Objects of two pairs may have the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ObjectKey {
    /// What the functions name it by: an address, in most cases.
    pub object: u64,
    /// Number of the pair.
    pub pair: u64,
}

const _: () = assert!(size_of::<ObjectKey>() == 16);

/// An open object of a pair of functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LiveObject {
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// When the opening call was entered, by the same clock; 0 where its return is not seen.
    pub began: u64,
    /// Stack pointer at the opening call.
    pub sp: u64,
    /// How often it has to be closed.
    pub references: i64,
    pub point: u32,
    pub tid: u32,
}

const _: () = assert!(size_of::<LiveObject>() == 40);
