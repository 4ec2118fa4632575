//! Offsets within kernel structs, from the kernel's own type information (/sys/kernel/btf/vmlinux).
//!
//! The format is that of Documentation/bpf/btf.rst. The file is the running kernel's and is trusted, but a newer kind of
//! type ends the search instead of misleading it.

use std::fs;

use tracer_common::config::KernelOffsets;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// Where the kernel keeps a thread's thread pointer, which libc lets point at the far end of the thread's stack.
#[cfg(target_arch = "x86_64")]
const THREAD_POINTER: [&str; 2] = ["thread", "fsbase"];
#[cfg(target_arch = "aarch64")]
const THREAD_POINTER: [&str; 3] = ["thread", "uw", "tp_value"];

/// What the programs need to know of the running kernel; what it does not tell is 0.
pub fn kernel_offsets() -> KernelOffsets {
    let bytes = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let Some(types) = Types::parse(&bytes) else {
        return KernelOffsets::default();
    };
    let thread_pointer = types.offset_in("task_struct", &THREAD_POINTER).unwrap_or(0);
    KernelOffsets {
        thread_pointer,
        ..return_instances(&types).unwrap_or_default()
    }
}

/// kernel/events/uprobes.c and include/linux/uprobes.h: a thread's pending return probes are a list, innermost first.
fn return_instances(types: &Types<'_>) -> Option<KernelOffsets> {
    Some(KernelOffsets {
        thread_pointer: 0,
        utask: types.offset_in("task_struct", &["utask"])?,
        return_instances: types.offset_in("uprobe_task", &["return_instances"])?,
        slot: types.offset_in("return_instance", &["stack"])?,
        return_address: types.offset_in("return_instance", &["orig_ret_vaddr"])?,
        next: types.offset_in("return_instance", &["next"])?,
    })
}

/// The types of a BTF blob; type n begins at `starts[n − 1]`.
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    starts: Vec<u32>,
}

/// A struct or union member.
struct Member<'a> {
    name: &'a [u8],
    type_id: u32,
    bytes: u64,
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Types<'a>> {
        let magic = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
        let [length, types_at, types_len, strings_at, strings_len] =
            [4, 8, 12, 16, 20].map(|at| word(bytes, at));
        let section = |at: Option<u32>, len: Option<u32>| {
            let start = length? as usize + at? as usize;
            bytes.get(start..start + len? as usize)
        };
        let types = section(types_at, types_len)?;
        let mut parsed = Types {
            types,
            strings: section(strings_at, strings_len)?,
            starts: Vec::new(),
        };
        let mut at = 0;
        while magic == MAGIC && at + 12 <= types.len() {
            parsed.starts.push(at as u32);
            at += 12 + parsed.extra(at)?;
        }
        Some(parsed)
    }

    /// Bytes behind the common head of the type at `at`; none for a kind that is not known.
    fn extra(&self, at: usize) -> Option<usize> {
        let (kind, count) = self.kind(at)?;
        Some(match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * count,
            6 | 13 => 8 * count,
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        })
    }

    fn kind(&self, at: usize) -> Option<(u32, usize)> {
        let info = word(self.types, at + 4)?;
        Some((info >> 24 & 0x1f, (info & 0xffff) as usize))
    }

    fn name(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn offset_in(&self, name: &str, path: &[&str]) -> Option<u32> {
        let offset = self.offset(self.struct_named(name)?, path)?;
        u32::try_from(offset).ok()
    }

    fn struct_named(&self, name: &str) -> Option<usize> {
        self.starts.iter().map(|&at| at as usize).find(|&at| {
            let is_struct = self.kind(at).is_some_and(|(kind, _)| kind == KIND_STRUCT);
            is_struct
                && word(self.types, at).is_some_and(|offset| self.name(offset) == name.as_bytes())
        })
    }

    fn members(&self, at: usize) -> impl Iterator<Item = Member<'a>> {
        let (kind, count) = self.kind(at).unwrap_or_default();
        let count = if matches!(kind, KIND_STRUCT | KIND_UNION) {
            count
        } else {
            0
        };
        (0..count).filter_map(move |index| {
            let member = at + 12 + 12 * index;
            // The upper bits of the offset are the size of a bit field, where there are any.
            let bits = word(self.types, member + 8)? & 0x00ff_ffff;
            let name = self.name(word(self.types, member)?);
            Some(Member {
                name,
                type_id: word(self.types, member + 4)?,
                bytes: u64::from(bits / 8),
            })
        })
    }

    /// Offset in bytes of a member of a member; members of unnamed structs count as the outer one's.
    fn offset(&self, at: usize, path: &[&str]) -> Option<u64> {
        let (first, rest) = match path {
            [] => return Some(0),
            [first, rest @ ..] => (first.as_bytes(), rest),
        };
        self.members(at).find_map(|member| {
            let inner = match self.starts.get((member.type_id as usize).checked_sub(1)?) {
                Some(&start) => start as usize,
                None => return None,
            };
            match member.name {
                [] => self.offset(inner, path),
                name if name == first => self.offset(inner, rest),
                _ => None,
            }
            .map(|offset| member.bytes + offset)
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the kernel describes itself, the thread pointer and the pending return probes are found.
    #[test]
    fn the_running_kernel_is_understood() {
        if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            return println!("skipped: this kernel has no /sys/kernel/btf/vmlinux");
        }
        let offsets = kernel_offsets();
        for offset in [offsets.thread_pointer, offsets.utask] {
            assert!(
                (8..64 * 1024).contains(&offset) && offset.is_multiple_of(8),
                "{offsets:?}"
            );
        }
        let within = [offsets.slot, offsets.return_address, offsets.next];
        assert!(
            within
                .iter()
                .all(|offset| *offset < 256 && offset.is_multiple_of(8)),
            "{offsets:?}"
        );
        assert_ne!(offsets.slot, offsets.return_address);
    }

    /// Bytes that are no BTF have no types.
    #[test]
    fn garbage_is_survived() {
        for length in 0..64 {
            let bytes: Vec<u8> = (0..length).map(|i: u8| i.wrapping_mul(37)).collect();
            assert!(
                Types::parse(&bytes)
                    .and_then(|types| types.struct_named("task_struct"))
                    .is_none()
            );
        }
    }
}
