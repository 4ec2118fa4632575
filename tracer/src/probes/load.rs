//! Loads the BPF object: sets what has to be known before, and makes the maps.

use anyhow::{Context, Result, bail};
use aya::maps::Map;
use aya::{Ebpf, EbpfLoader};
use tracer_common::config::{Config, MAX_POINTS};
use tracer_common::outcome::OUTCOMES;

use super::errors;
use crate::heap;

pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("OFFHEAP_BPF_OBJECT"));

/// Capacities of the maps, in elements, and of the ring, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Capacities {
    /// A power of two and a multiple of the page size.
    pub ring_bytes: u32,
    pub blocks: u32,
    /// Streams, and as many objects of pairs.
    pub streams: u32,
    pub threads: u32,
    /// Attach points, at most [`MAX_POINTS`]; more are refused, and say so. Each takes 128 bytes per CPU, and time to
    /// load: 1024 take 15 ms.
    pub points: u32,
}

/// Makes the maps. No program is loaded yet.
pub fn object(config: &Config, capacities: Capacities, log_level: u8) -> Result<Ebpf> {
    if OBJECT.is_empty() {
        bail!(
            "this binary was built without its BPF programs: build it with `cargo xtask build --release`"
        );
    }
    let loaded = EbpfLoader::new()
        // The loader has read all types of the kernel by now, 20 MiB. Our programs are not relocated by them.
        .btf(None)
        .override_global("CONFIG", config, true)
        .override_global("AYA_LOG_LEVEL", &log_level, false)
        .map_max_entries("EVENTS", capacities.ring_bytes)
        .map_max_entries("LIVE", capacities.blocks)
        .map_max_entries("STREAMS", capacities.streams)
        .map_max_entries("OBJECTS", capacities.streams)
        .map_max_entries("CALLS", capacities.threads)
        .map_max_entries("ALLOCATING", capacities.threads)
        .map_max_entries("MAPPING", capacities.threads)
        .map_max_entries("OPENING", capacities.threads)
        .map_max_entries("ANCHORS", capacities.threads)
        .map_max_entries("COUNTERS", capacities.points.min(MAX_POINTS) * OUTCOMES)
        .load(OBJECT);
    heap::give_back();
    loaded.map_err(errors::maps)
}

/// Takes a map out of the object.
pub fn take<T>(ebpf: &mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf
        .take_map(name)
        .with_context(|| format!("the BPF object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("the BPF map {name} has another type"))
}
