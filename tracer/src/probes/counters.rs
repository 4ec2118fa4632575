//! The counters of the attach points, all read by one call: one by one they would take a thousand, four times a second.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Map, MapData};

use super::batch::{Attributes, lookup_batch};

/// The programs' counters, of which every CPU has its own.
pub struct Counters {
    map: MapData,
    /// Those that the machine may have: the kernel hands out a value for each.
    cpus: usize,
}

impl TryFrom<Map> for Counters {
    type Error = io::Error;

    fn try_from(map: Map) -> io::Result<Self> {
        let Map::PerCpuArray(map) = map else {
            let error = io::ErrorKind::InvalidInput;
            return Err(io::Error::new(error, "not an array of each CPU's values"));
        };
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        Ok(Counters { map, cpus })
    }
}

impl Counters {
    /// The first `count` counters, each summed over the CPUs. Linux reads such arrays in batches since 5.13.
    pub fn read(&self, count: u32) -> io::Result<Vec<u64>> {
        let elements = count as usize;
        if elements == 0 {
            return Ok(Vec::new());
        }
        let (mut keys, mut values) = (vec![0u32; elements], vec![0u64; elements * self.cpus]);
        let mut next = 0u32;
        let mut attributes = Attributes {
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count,
            map_fd: self.map.fd().as_fd().as_raw_fd() as u32,
            ..Attributes::default()
        };
        match lookup_batch(&mut attributes) {
            // The last of the map were among them.
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
        let mut sums = vec![0u64; elements];
        let read = (attributes.count as usize).min(elements);
        for (&key, of_cpus) in keys.iter().zip(values.chunks_exact(self.cpus)).take(read) {
            if let Some(sum) = sums.get_mut(key as usize) {
                *sum = of_cpus
                    .iter()
                    .fold(0, |sum, value| sum.wrapping_add(*value));
            }
        }
        Ok(sums)
    }
}
