//! Reads whole hash maps with `BPF_MAP_LOOKUP_BATCH` (kernel 5.6), which aya does not offer.
//!
//! The kernel hands out bucket after bucket, each as it is at one moment: an element that stays in the map during the
//! read is seen exactly once, whatever is added or removed meanwhile. Walking the keys one by one starts over whenever
//! the current key is deleted.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::maps::{Map, MapData};

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// `union bpf_attr`, the part for batches (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
pub(super) struct Attributes {
    /// Where to begin; none at the beginning.
    pub in_batch: u64,
    pub out_batch: u64,
    pub keys: u64,
    pub values: u64,
    pub count: u32,
    pub map_fd: u32,
    pub elem_flags: u64,
    pub flags: u64,
}

/// Elements asked for at first; grown when a bucket holds more.
const BATCH: usize = 4096;

/// A hash map of the programs, read as a whole.
pub struct HashMap<K, V>(MapData, PhantomData<(K, V)>);

impl<K, V> TryFrom<Map> for HashMap<K, V> {
    type Error = io::Error;

    fn try_from(map: Map) -> io::Result<Self> {
        match map {
            Map::HashMap(data) => Ok(HashMap(data, PhantomData)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a hash map",
            )),
        }
    }
}

impl<K, V> HashMap<K, V>
where
    K: aya::Pod + Default,
    V: aya::Pod + Default,
{
    /// Calls `each` with every element.
    pub fn for_each(&self, each: impl FnMut(K, V)) -> io::Result<()> {
        for_each(self.0.fd().as_fd().as_raw_fd(), each)
    }
}

fn for_each<K, V>(map: RawFd, mut each: impl FnMut(K, V)) -> io::Result<()>
where
    K: aya::Pod + Default,
    V: aya::Pod + Default,
{
    let mut size = BATCH;
    let mut keys = vec![K::default(); size];
    let mut values = vec![V::default(); size];
    let mut position: Option<u32> = None;
    loop {
        let mut next = 0u32;
        let mut attributes = Attributes {
            in_batch: position.as_ref().map_or(0, |p| p as *const u32 as u64),
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: size as u32,
            map_fd: map as u32,
            ..Attributes::default()
        };
        let result = lookup_batch(&mut attributes);
        let ended = match &result {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                size *= 2;
                keys.resize(size, K::default());
                values.resize(size, V::default());
                continue;
            }
            Err(_) => return result,
        };
        let count = (attributes.count as usize).min(size);
        for (key, value) in keys[..count].iter().zip(&values[..count]) {
            each(*key, *value);
        }
        if ended {
            return Ok(());
        }
        position = Some(next);
    }
}

pub(super) fn lookup_batch(attributes: &mut Attributes) -> io::Result<()> {
    // SAFETY: the pointers in `attributes` are to live buffers with room for `count` elements of the map's sizes, which
    // `Pod` types of the map's declaration have.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            attributes as *mut Attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
