//! What a mapping serves, told by the names on its stack.

use std::sync::Arc;

use crate::capture::{Frame, FrameKind, Owner};

/// Classifies a mapping by its stack, leaf first.
///
/// The frame nearest to the leaf that says something decides: a thread stack mapped by the JVM is a thread stack, and
/// an arena that grew while the JVM allocated is the allocator's.
pub fn owner(frames: &[Arc<Frame>]) -> Owner {
    frames
        .iter()
        .filter(|frame| frame.module.is_some())
        .find_map(|frame| of_frame(frame))
        .unwrap_or(Owner::Other)
}

fn of_frame(frame: &Frame) -> Option<Owner> {
    // A stripped allocator has no names, but its file has one.
    if is_allocator_library(frame.module.as_deref().unwrap_or_default()) {
        return Some(Owner::Allocator);
    }
    if !matches!(frame.kind, FrameKind::Native | FrameKind::Inlined) {
        return None;
    }
    let name = frame.name.as_str();
    if is_allocator_function(name) {
        return Some(Owner::Allocator);
    }
    if is_thread_creation(name) {
        return Some(Owner::ThreadStack);
    }
    (is_libjvm(frame) && is_jvm_mapping(name)).then_some(Owner::Jvm)
}

/// Functions of the malloc family and the insides of glibc, musl, jemalloc, tcmalloc and mimalloc.
///
/// glibc's debug symbols name its functions by their internal aliases (`__GI___libc_malloc`), and GCC appends the
/// names of clones (`.part.0`).
#[rustfmt::skip]
pub fn is_allocator_function(name: &str) -> bool {
    const EXACT: [&str; 28] = [
        "malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign", "valloc",
        "pvalloc", "free", "cfree", "sysmalloc", "sysmalloc_mmap", "sysmalloc_mmap_fallback", "new_heap",
        "alloc_new_heap", "grow_heap", "shrink_heap", "arena_get2", "_int_new_arena", "_int_malloc", "_int_realloc",
        "_int_memalign", "mremap_chunk", "tcache_init", "__malloc_alloc_meta", "__expand_heap", "__libc_free",
    ];
    const PREFIXES: [&str; 12] = [
        "__libc_malloc", "__libc_calloc", "__libc_realloc", "__libc_memalign", "__libc_valloc", "__libc_pvalloc",
        "__posix_memalign", "je_", "tc_", "mi_", "_mi_", "tcmalloc::",
    ];
    let base = base_name(name);
    EXACT.contains(&base) || PREFIXES.iter().any(|prefix| base.starts_with(prefix))
}

/// Without internal prefix, symbol version and clone suffix.
fn base_name(name: &str) -> &str {
    let name = name.strip_prefix("__GI_").unwrap_or(name);
    name.split(['(', '@', '.']).next().unwrap_or(name)
}

fn is_allocator_library(module: &str) -> bool {
    ["libjemalloc", "libtcmalloc", "libmimalloc"]
        .iter()
        .any(|library| module.starts_with(library))
}

fn is_thread_creation(name: &str) -> bool {
    let base = base_name(name);
    base.contains("pthread_create") || base.contains("allocate_stack")
}

fn is_libjvm(frame: &Frame) -> bool {
    frame
        .module
        .as_deref()
        .is_some_and(|module| module.starts_with("libjvm"))
}

/// `os::` of HotSpot (8 to 25): reserve, commit and map, with their `pd_` and `Linux::` parts; and the NMT wrappers.
fn is_jvm_mapping(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "reserve_memory",
        "commit_memory",
        "anon_mmap",
        "map_memory",
        "remap_memory",
        "attempt_reserve",
        "ReservedSpace",
        "VirtualSpace",
        "realign_memory",
        "pretouch_memory",
    ];
    WORDS.iter().any(|word| name.contains(word))
}
