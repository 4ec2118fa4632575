//! Classes and their loaders: how many there are, and where their metadata lies.

use std::collections::BTreeMap;

use super::{Flags, Places};
use crate::triage::claims::Claims;
use crate::triage::owners::Kind;
use crate::triage::smaps::Mapping;
use crate::unwind::hotspot::layout::VmLayout;
use crate::unwind::memory::Memory;

/// A leak of loaders has tens of thousands.
const MAX_LOADERS: u64 = 1 << 17;
const MAX_CLASSES: u64 = 1 << 19;
/// An instance class as far as it is read.
const MAX_KLASS: u64 = 1024;
/// Metadata is noted in steps of this: what the JVM commits at once since 16 (JEP 387).
const GRANULE: u64 = 64 << 10;
/// A root chunk of metaspace since 16 (`MAX_CHUNK_BYTE_SIZE`): reserved as a whole, aligned to its size. 16 MiB in newer
/// releases, which is a multiple.
const ROOT_CHUNK: u64 = 4 << 20;
const BITS: &[u8] = b"java/nio/Bits";

/// What a walk over all class loaders found.
#[derive(Debug, Default)]
pub struct Classes {
    pub loaders: u64,
    pub count: u64,
    /// There were more, or the lists changed while they were read.
    pub partial: bool,
    /// The class `java.nio.Bits`.
    pub bits: Option<u64>,
    /// By granule: one class, and one constant pool in it.
    klasses: BTreeMap<u64, u64>,
    pools: BTreeMap<u64, u64>,
}

struct Offsets {
    next_loader: u64,
    klasses: u64,
    next_klass: u64,
    layout_helper: u64,
    name: u64,
    constants: u64,
}

/// Goes through `ClassLoaderDataGraph`, the newest loader first. None where this JVM does not tell where it is.
pub(super) fn walk<M: Memory>(places: &Places<'_, M>, layout: &VmLayout) -> Option<Classes> {
    let offsets = Offsets {
        next_loader: places.offset("ClassLoaderData", "_next")?,
        klasses: places.offset("ClassLoaderData", "_klasses")?,
        next_klass: places.offset("Klass", "_next_link")?,
        layout_helper: places.offset("Klass", "_layout_helper")?,
        name: places.offset("Klass", "_name")?,
        constants: places.offset("InstanceKlass", "_constants")?,
    };
    let mut loader = places.value("ClassLoaderDataGraph", "_head")?;
    let mut classes = Classes::default();
    while loader != 0 {
        if classes.loaders >= MAX_LOADERS
            || !classes.loader(places.memory, layout, &offsets, loader)
        {
            classes.partial = true;
            break;
        }
        let next = loader
            .checked_add(offsets.next_loader)
            .and_then(|at| places.memory.read_u64(at).ok());
        let Some(next) = next else {
            classes.partial = true;
            break;
        };
        loader = next;
    }
    Some(classes)
}

impl Classes {
    fn loader(
        &mut self,
        memory: &impl Memory,
        layout: &VmLayout,
        offsets: &Offsets,
        loader: u64,
    ) -> bool {
        self.loaders += 1;
        let Some(mut klass) = loader
            .checked_add(offsets.klasses)
            .and_then(|at| memory.read_u64(at).ok())
        else {
            return false;
        };
        let ends = [
            offsets.next_klass,
            offsets.layout_helper,
            offsets.name,
            offsets.constants,
        ]
        .map(|offset| offset + 8);
        let len = ends.into_iter().max().unwrap_or(0);
        if len > MAX_KLASS {
            return false;
        }
        while klass != 0 {
            let bytes = (self.count < MAX_CLASSES)
                .then(|| memory.read_vec(klass, len as usize).ok())
                .flatten();
            let Some(bytes) = bytes else { return false };
            let word = |offset: u64| {
                bytes
                    .get(offset as usize..)
                    .and_then(|rest| rest.first_chunk())
                    .map_or(0, |word| u64::from_le_bytes(*word))
            };
            self.count += 1;
            self.klasses.insert(klass / GRANULE, klass);
            // That of an array is negative; it has no constants.
            if word(offsets.layout_helper) as u32 as i32 >= 0 {
                let pool = word(offsets.constants);
                self.pools.insert(pool / GRANULE, pool);
                if self.bits.is_none() && is_bits(memory, layout, word(offsets.name)) {
                    self.bits = Some(klass);
                }
            }
            klass = word(offsets.next_klass);
        }
        true
    }

    /// Claims what metadata lies in: the class space, and the chunks or mappings of metaspace.
    pub(super) fn claim(
        &self,
        mappings: &[Mapping],
        flags: &Flags,
        release: u32,
        claims: &mut Claims,
    ) {
        let is_narrow = flags.get("UseCompressedClassPointers") != Some(&0);
        // What is in the archive is there.
        let outside = |address: &&u64| claims.at(**address).is_none();
        let klasses: Vec<u64> = self.klasses.values().filter(outside).copied().collect();
        let pools: Vec<u64> = self.pools.values().filter(outside).copied().collect();
        match (klasses.first(), klasses.last()) {
            (Some(low), Some(high)) if is_narrow => {
                let size = flags
                    .get("CompressedClassSpaceSize")
                    .copied()
                    .unwrap_or(1 << 30);
                let start = low & !(ROOT_CHUNK - 1);
                if let Some(end) = run_end(mappings, *high) {
                    claims.add(
                        start,
                        end.min(start.saturating_add(size)),
                        Kind::ClassSpace,
                        false,
                    );
                }
            }
            _ => klasses
                .iter()
                .for_each(|&klass| space(klass, mappings, release, claims)),
        }
        pools
            .iter()
            .for_each(|&pool| space(pool, mappings, release, claims));
    }
}

/// The chunk around some metadata, or, up to JDK 15, its mapping.
fn space(address: u64, mappings: &[Mapping], release: u32, claims: &mut Claims) {
    if claims.at(address).is_some() {
        return;
    }
    let (from, to) = match release {
        ..16 => (address, address.saturating_add(1)),
        _ => {
            let from = address & !(ROOT_CHUNK - 1);
            (from, from.saturating_add(ROOT_CHUNK))
        }
    };
    let at = mappings.partition_point(|mapping| mapping.end <= from);
    for mapping in mappings[at..]
        .iter()
        .take_while(|mapping| mapping.start < to)
    {
        if !mapping.is_anonymous() {
            continue;
        }
        if release < 16 && mapping.is_accessible() {
            claims.add(mapping.start, mapping.end, Kind::Metaspace, false);
        } else if release >= 16 {
            claims.add(
                mapping.start.max(from),
                mapping.end.min(to),
                Kind::Metaspace,
                false,
            );
        }
    }
}

/// Where the anonymous mappings that follow `address` without a gap end.
fn run_end(mappings: &[Mapping], address: u64) -> Option<u64> {
    let at = mappings.partition_point(|mapping| mapping.end <= address);
    let mut end = None;
    for mapping in mappings
        .get(at..)?
        .iter()
        .filter(|mapping| mapping.is_anonymous())
    {
        if end.is_some_and(|end| end != mapping.start) || (end.is_none() && mapping.start > address)
        {
            break;
        }
        end = Some(mapping.end);
    }
    end
}

fn is_bits(memory: &impl Memory, layout: &VmLayout, symbol: u64) -> bool {
    let mut length = [0; 2];
    let Some(at) = symbol.checked_add(layout.method.symbol_length) else {
        return false;
    };
    if memory.read(at, &mut length).is_err()
        || usize::from(u16::from_le_bytes(length)) != BITS.len()
    {
        return false;
    }
    let body = symbol.checked_add(layout.method.symbol_body);
    body.and_then(|at| memory.read_vec(at, BITS.len()).ok())
        .is_some_and(|body| body == BITS)
}
