//! The kernel's own lists of BPF objects, through bpf(2), so that "nothing remains" is not the tool's word.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

/// `enum bpf_cmd` of linux/bpf.h; the numbers are ABI.
const PROG_GET_NEXT_ID: u32 = 11;
const MAP_GET_NEXT_ID: u32 = 12;
const LINK_GET_NEXT_ID: u32 = 31;

/// The part of `union bpf_attr` that the commands above use.
#[repr(C)]
#[derive(Default)]
struct NextId {
    start_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The ids of BPF objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    pub programs: BTreeSet<u32>,
    pub maps: BTreeSet<u32>,
    pub links: BTreeSet<u32>,
}

impl Objects {
    /// All that the kernel lists now, whoever owns it.
    ///
    /// # Errors
    ///
    /// Without CAP_SYS_ADMIN, or where the kernel lacks bpf(2).
    pub fn listed() -> io::Result<Objects> {
        Ok(Objects {
            programs: programs()?,
            maps: ids(MAP_GET_NEXT_ID)?,
            links: ids(LINK_GET_NEXT_ID)?,
        })
    }

    /// Those that the process `pid` holds, by its descriptors (`prog_id`, `map_id`, `link_id` in fdinfo).
    ///
    /// # Errors
    ///
    /// When /proc/PID/fdinfo can't be listed. A descriptor that is closed meanwhile is left out.
    pub fn of(pid: u32) -> io::Result<Objects> {
        let mut objects = Objects::default();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let Ok(text) = std::fs::read_to_string(entry?.path()) else {
                continue;
            };
            for line in text.lines() {
                let Some((key, value)) = line.split_once(':') else {
                    continue;
                };
                let Ok(id) = value.trim().parse() else {
                    continue;
                };
                match key {
                    "prog_id" => objects.programs.insert(id),
                    "map_id" => objects.maps.insert(id),
                    "link_id" => objects.links.insert(id),
                    _ => continue,
                };
            }
        }
        Ok(objects)
    }

    /// Those of `self` that `others` has too.
    pub fn also_in(&self, others: &Objects) -> Objects {
        Objects {
            programs: &self.programs & &others.programs,
            maps: &self.maps & &others.maps,
            links: &self.links & &others.links,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.maps.is_empty() && self.links.is_empty()
    }
}

/// Ids of all loaded BPF programs.
///
/// # Errors
///
/// As [`Objects::listed`].
pub fn programs() -> io::Result<BTreeSet<u32>> {
    ids(PROG_GET_NEXT_ID)
}

fn ids(command: u32) -> io::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let mut attributes = NextId::default();
    loop {
        // SAFETY: the attributes outlive the call, and their size is given.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                &raw mut attributes,
                size_of::<NextId>(),
            )
        };
        if result < 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ENOENT) {
                Ok(found)
            } else {
                Err(error)
            };
        }
        found.insert(attributes.next_id);
        attributes.start_id = attributes.next_id;
    }
}

/// The BPF objects that the live tool `pid` holds; fails unless the kernel lists a program and a map of it, so that a
/// later look for remains can fail too.
pub fn objects_of_tool(pid: u32) -> Objects {
    let held = Objects::of(pid).expect("fdinfo of an own child");
    let listed = held.also_in(&Objects::listed().expect("bpf(2) as root"));
    assert!(
        !listed.programs.is_empty() && !listed.maps.is_empty(),
        "the kernel lists nothing of what the tool holds: {held:?}"
    );
    held
}

/// None of `held` is in the kernel's lists any more. The kernel frees programs and maps after a grace period, hence the
/// deadline.
pub fn assert_gone(held: &Objects) {
    const LIMIT: Duration = Duration::from_secs(10);
    let until = Instant::now() + LIMIT;
    loop {
        let remaining = held.also_in(&Objects::listed().expect("bpf(2) as root"));
        if remaining.is_empty() {
            return;
        }
        assert!(
            Instant::now() < until,
            "BPF objects of the tool remain: {remaining:?}"
        );
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that uses no BPF holds none, and only what both sides have remains.
    #[test]
    fn remains_are_the_common_part() {
        assert!(
            Objects::of(std::process::id())
                .expect("own fdinfo")
                .is_empty()
        );
        let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<u32>>();
        let held = Objects {
            programs: set(&[1, 2]),
            maps: set(&[3]),
            links: set(&[]),
        };
        let listed = Objects {
            programs: set(&[2, 9]),
            maps: set(&[4]),
            links: set(&[5]),
        };
        let common = held.also_in(&listed);
        assert_eq!(
            common,
            Objects {
                programs: set(&[2]),
                ..Objects::default()
            }
        );
        assert!(!common.is_empty() && held.also_in(&Objects::default()).is_empty());
    }
}
