//! Copies a stack into the ring. A record is private to its program until it is submitted, so there is no scratch space
//! that another thread could overwrite.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_task, bpf_probe_read_user,
};
use tracer_common::config::{PAGE, STACK_CLASSES};
use tracer_common::event::{
    ANCHOR_WORDS, Captured, FLAG_STACK_LOST, FLAG_TRUNCATED, Freed, Header, kind,
};

use crate::maps::{anchors, config, events, is_to_be_woken};
use crate::pending::{kernel_word, write_pending};
use crate::probe::{Hit, user_word};

#[repr(C)]
struct Record<const PAGES: usize> {
    captured: Captured,
    stack: [[u8; PAGE as usize]; PAGES],
}

const COMM: usize = 16;

/// The ring had no room.
pub struct Full;

/// Sends what `header` and `arguments` tell of a hit, with registers, pending return probes and stack, in the smallest
/// record that holds what is used of the stack.
///
/// It is written straight into the record: a program has 512 bytes of stack for all of its functions (before Linux 6.13).
/// And it is part of its program, not called by it: before 6.5 the verifier takes every value for important in a program
/// that calls another function, and does not come to an end.
#[inline(always)]
pub fn send(hit: &Hit, header: &Header, arguments: [u64; 3]) -> Result<(), Full> {
    if !has_room(header.kind) {
        return Err(Full);
    }
    let sp = hit.registers.sp();
    let page = sp & !(PAGE - 1);
    let extent = extent(sp, page);
    if fits(page, extent, STACK_CLASSES[0]) {
        return emit::<{ STACK_CLASSES[0] as usize }>(hit, header, arguments, extent);
    }
    if fits(page, extent, STACK_CLASSES[1]) {
        return emit::<{ STACK_CLASSES[1] as usize }>(hit, header, arguments, extent);
    }
    if fits(page, extent, STACK_CLASSES[2]) {
        return emit::<{ STACK_CLASSES[2] as usize }>(hit, header, arguments, extent);
    }
    if fits(page, extent, STACK_CLASSES[3]) {
        return emit::<{ STACK_CLASSES[3] as usize }>(hit, header, arguments, extent);
    }
    emit::<{ STACK_CLASSES[4] as usize }>(hit, header, arguments, extent)
}

/// How much of a stack is to be copied.
#[derive(Clone, Copy)]
struct Extent {
    pages: u32,
    /// The stack is known to go so far: a page that can't be read is a hole in it, and not its end.
    is_known: bool,
    /// [`FLAG_TRUNCATED`] where the stack is longer, or may be; else 0.
    cut: u16,
}

/// From `page` to the end of the stack, or to the cap.
#[inline(always)]
fn extent(sp: u64, page: u64) -> Extent {
    let cap = config().stack_pages;
    let end = thread_pointer();
    if end <= sp {
        return Extent {
            pages: cap,
            is_known: false,
            cut: FLAG_TRUNCATED * is_mapped(page, cap) as u16,
        };
    }
    let used = (end - page).div_ceil(PAGE);
    Extent {
        pages: used.min(cap as u64) as u32,
        is_known: true,
        cut: FLAG_TRUNCATED * sign(cap as u64 - used) as u16,
    }
}

/// The C library keeps a thread's own data at the far end of its stack, and the thread pointer at that (glibc's
/// `allocate_stack`, musl's `pthread_create`). The main thread's is elsewhere, below its stack. 0 when it is not known.
#[inline(always)]
fn thread_pointer() -> u64 {
    match config().offsets.thread_pointer {
        0 => 0,
        offset => kernel_word(unsafe { bpf_get_current_task() }, offset),
    }
}

/// Does a record of `class` pages do? The pages above a stack are often not mapped, or guard another stack.
#[inline(always)]
fn fits(page: u64, extent: Extent, class: u32) -> bool {
    extent.pages <= class || !extent.is_known && is_mapped(page, class) == 0
}

#[inline(always)]
fn is_mapped(page: u64, pages: u32) -> u64 {
    let mut byte = 0u8;
    let address = page + pages as u64 * PAGE;
    succeeded(unsafe { bpf_probe_read_user((&raw mut byte).cast(), 1, address as *const _) })
}

/// 1 where a helper has succeeded, else 0. Without a branch, behind which the verifier would follow both ways.
#[inline(always)]
fn succeeded(result: i64) -> u64 {
    1 ^ sign(result as u64)
}

/// 1 where the number is negative, else 0.
#[inline(always)]
fn sign(number: u64) -> u64 {
    number >> 63
}

#[inline(always)]
fn emit<const PAGES: usize>(
    hit: &Hit,
    header: &Header,
    arguments: [u64; 3],
    extent: Extent,
) -> Result<(), Full> {
    let Some(mut entry) = events().reserve::<Record<PAGES>>(0) else {
        return Err(Full);
    };
    let record = entry.as_mut_ptr();
    unsafe {
        let captured = &raw mut (*record).captured;
        fill(captured, hit, header, arguments, extent.cut);
        copy::<PAGES>(record, hit.registers.sp(), extent);
    }
    entry.submit(wakeup());
    Ok(())
}

/// Everything but the stack, of which there is none yet.
#[inline(always)]
unsafe fn fill(
    captured: *mut Captured,
    hit: &Hit,
    header: &Header,
    arguments: [u64; 3],
    flags: u16,
) {
    let registers = hit.registers;
    unsafe {
        (&raw mut (*captured).header).write(*header);
        (&raw mut (*captured).header.flags).write(header.flags | flags);
        (&raw mut (*captured).arguments).write(arguments);
        (&raw mut (*captured).ip).write(registers.ip());
        (&raw mut (*captured).sp).write(registers.sp());
        (&raw mut (*captured).fp).write(registers.fp());
        (&raw mut (*captured).lr).write(registers.lr());
        write_pending(&raw mut (*captured).replaced, hit.tid);
        (&raw mut (*captured).has_anchor).write(write_anchor(&raw mut (*captured).anchor, hit.tid));
        // Where it fails, the kernel writes zeroes.
        bpf_get_current_comm((&raw mut (*captured).comm).cast(), COMM as u32);
        (&raw mut (*captured).pages).write(0);
        (&raw mut (*captured).missing).write(0);
    }
}

/// What the JVM has noted of the thread's last Java frame: it is true now, and will be another's when userspace looks.
/// 1 where there is such a note.
#[inline(always)]
unsafe fn write_anchor(to: *mut [u64; ANCHOR_WORDS], tid: u32) -> u32 {
    let size = size_of::<[u64; ANCHOR_WORDS]>() as u32;
    match unsafe { anchors().get(tid) } {
        // Where it fails, the kernel writes zeroes.
        Some(address) => unsafe {
            succeeded(bpf_probe_read_user(to.cast(), size, *address as *const _)) as u32
        },
        None => {
            unsafe { to.write([0; ANCHOR_WORDS]) };
            0
        }
    }
}

/// Blocks are many and may be sampled; streams and mappings are few and exact. The last quarter of the ring is theirs, and
/// that of what userspace alone keeps.
#[inline(always)]
fn has_room(kind: u32) -> bool {
    match kind {
        kind::ALLOCATED | kind::FREED => {
            events().query(BPF_RB_AVAIL_DATA as u64) < config().block_bytes as u64
        }
        _ => true,
    }
}

/// Sends the same without the stack, for which there was no room: userspace has to know of the allocation all the same.
#[inline(always)]
pub fn send_without_stack(hit: &Hit, header: &Header, arguments: [u64; 3]) -> Result<(), Full> {
    let Some(mut entry) = events().reserve::<Captured>(0) else {
        return Err(Full);
    };
    unsafe { fill(entry.as_mut_ptr(), hit, header, arguments, FLAG_STACK_LOST) };
    entry.submit(wakeup());
    Ok(())
}

/// Userspace comes by itself every few milliseconds while records come; a wake-up costs more than the rest of the program,
/// and is only worth it when the ring fills faster than that, and for the first record after a while.
#[inline(always)]
fn wakeup() -> u64 {
    let waiting = events().query(BPF_RB_AVAIL_DATA as u64);
    let urgent = config().wakeup_bytes as u64;
    (if waiting >= urgent || is_to_be_woken() {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }) as u64
}

/// Copies page by page, since a read that touches a missing page fails as a whole; notes the pages copied, and which of
/// them are missing: those hold zeroes (`bpf_probe_read_user`).
///
/// The missing ones are kept in the record, where the verifier does not follow them: in a register, each set of them would
/// be a state of its own.
#[inline(always)]
unsafe fn copy<const PAGES: usize>(record: *mut Record<PAGES>, sp: u64, extent: Extent) {
    let skipped = sp & (PAGE - 1);
    let first = PAGE - skipped;
    unsafe {
        let bytes = (&raw mut (*record).stack).cast::<u8>();
        let missing = &raw mut (*record).captured.missing;
        let to = bytes.add(skipped as usize).cast();
        if bpf_probe_read_user(to, first as u32, sp as *const _) != 0 {
            return;
        }
        let mut pages = 1;
        while pages < PAGES && pages < extent.pages as usize {
            let offset = pages * PAGE as usize;
            let from = sp - skipped + offset as u64;
            if bpf_probe_read_user(bytes.add(offset).cast(), PAGE as u32, from as *const _) != 0 {
                if !extent.is_known {
                    break;
                }
                missing.write_volatile(missing.read_volatile() | 1 << pages);
            }
            pages += 1;
        }
        (&raw mut (*record).captured.pages).write(pages as u16);
    }
}

/// Sends the end of an allocation.
#[inline(always)]
pub fn send_freed(freed: &Freed) -> Result<(), Full> {
    let ring = events();
    if !has_room(freed.header.kind) {
        return Err(Full);
    }
    match ring.output::<Freed>(freed, wakeup()) {
        Ok(()) => Ok(()),
        Err(_) => Err(Full),
    }
}

/// The return address at a function's entry.
#[inline(always)]
pub fn return_address(hit: &Hit) -> u64 {
    match hit.registers.lr() {
        0 => user_word(hit.registers.sp()),
        lr => lr,
    }
}
