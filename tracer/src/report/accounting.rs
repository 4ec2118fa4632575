//! Which sites make up the outstanding bytes, so that every byte is counted once.
//!
//! The hooks look at the same memory on three levels: zlib opens a stream, its buffers come from malloc, and the
//! allocator gets its arenas by mmap. A byte is counted at the finest hooked level:
//!
//! * `malloc` sites always count;
//! * `deflate` and `inflate` sites count only where malloc is not hooked, since their buffers are malloc sites too;
//! * `pair` sites do not count: what opening an object took is malloc's;
//! * `mmap` sites count, but for those of the allocator, which count only where neither malloc nor zlib is hooked;
//! * where growth is watched, `fault` sites say what of all mappings is resident, and `mmap` sites do not count.

use std::sync::Arc;

use crate::capture::{Capture, Frame, FrameKind, Function, Owner, Site, SiteKind, TrapCost};

/// Whether the site's outstanding bytes belong to the total, with these hooks (`zlib`, `mmap`, `malloc`).
pub fn counts(site: &Site, hooks: &[String]) -> bool {
    kind_counts(site.kind, site.owner, hooks)
}

/// The same of all sites of a kind that serve this owner.
pub fn kind_counts(kind: SiteKind, owner: Option<Owner>, hooks: &[String]) -> bool {
    let hooked = |group: &str| hooks.iter().any(|hook| hook == group);
    match kind {
        SiteKind::Malloc | SiteKind::Fault => true,
        SiteKind::Pair => false,
        SiteKind::Mmap if hooked("growth") => false,
        SiteKind::Deflate | SiteKind::Inflate => !hooked("malloc"),
        SiteKind::Mmap => match owner {
            Some(Owner::Allocator) => !hooked("malloc") && !hooked("zlib"),
            _ => true,
        },
    }
}

/// Sum of the outstanding bytes of all sites, each byte once. This is `memory.outstanding_bytes`.
pub fn outstanding_bytes(sites: &[Site], hooks: &[String]) -> u64 {
    sites
        .iter()
        .filter(|site| counts(site, hooks))
        .fold(0, |sum, site| sum.saturating_add(site.outstanding_bytes))
}

/// The same sum for a selection of the capture's sites, and whether an estimate is part of it.
pub fn total(capture: &Capture, sites: &[&Site]) -> (u64, bool) {
    sites
        .iter()
        .filter(|site| counts(site, &capture.settings.hooks))
        .fold((0, false), |(sum, estimated), site| {
            (
                site.outstanding_bytes.saturating_add(sum),
                estimated || site.estimated,
            )
        })
}

/// Traps taken by the target: how many, of which sort, and nanoseconds each.
pub fn traps(capture: &Capture, cost: TrapCost) -> [(u64, &'static str, f64); 3] {
    let sum = |traps: &dyn Fn(&Function) -> u64| {
        capture
            .functions
            .iter()
            .fold(0u64, |sum, f| sum.saturating_add(traps(f)))
    };
    let entries = |f: &Function| f.seen.saturating_add(f.counted);
    [
        (
            sum(&|f| u64::from(f.emulated) * entries(f)),
            "emulated",
            cost.emulated,
        ),
        (
            sum(&|f| u64::from(!f.emulated) * entries(f)),
            "single-stepped",
            cost.single_step,
        ),
        (sum(&|f| f.returns), "at returns", cost.at_return),
    ]
}

/// CPU seconds that tracing took from the target; none where the cost of a trap was not measured.
pub fn tracing_seconds(capture: &Capture) -> Option<f64> {
    let traps = traps(capture, capture.tracer.trap_ns?);
    let traps = traps.iter().map(|(count, _, cost)| *count as f64 * cost);
    Some(traps.sum::<f64>() / 1e9 + capture.tracer.budget.program_seconds)
}

/// Whether the memory was allocated by zlib for one of its streams.
pub fn is_zlib_memory(site: &Site) -> bool {
    site.kind == SiteKind::Malloc
        && site.frames.iter().any(|frame| {
            matches!(frame.kind, FrameKind::Native | FrameKind::Inlined)
                && frame.module.is_some()
                && is_zlib_function(&frame.name)
        })
}

/// The frames below zlib: the same for a stream and for the blocks that were allocated while it was opened.
///
/// None where no frame is zlib's, or nothing called it.
pub fn below_zlib(site: &Site) -> Option<&[Arc<Frame>]> {
    let last = site
        .frames
        .iter()
        .rposition(|frame| frame.module.is_some() && is_zlib_function(&frame.name))?;
    site.frames
        .get(last + 1..)
        .filter(|frames| !frames.is_empty())
}

/// Whether the frames alone tell how the stack ended: at the root, or with a marker that says where it broke off.
pub fn end_is_told(site: &Site) -> bool {
    site.stack_end == "root"
        || site
            .frames
            .last()
            .is_some_and(|frame| frame.reason.as_ref() == Some(&site.stack_end))
}

/// zlib functions that allocate for a stream; `inflate` does so for its window, on first use.
fn is_zlib_function(name: &str) -> bool {
    matches!(
        name,
        "deflateInit_"
            | "deflateInit2_"
            | "deflateCopy"
            | "inflateInit_"
            | "inflateInit2_"
            | "inflateCopy"
            | "inflateBackInit_"
            | "inflate"
            | "inflateSetDictionary"
            | "updatewindow"
            // Hooked where zlib's own symbols are stripped.
            | "Java_java_util_zip_Deflater_init"
            | "Java_java_util_zip_Inflater_init"
    )
}
