//! Process and thread ids, as this host's pid namespace numbers them.

use std::fmt;
use std::str::FromStr;

/// A process (thread group) id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

/// A thread id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub u32);

/// Largest possible pid: `PID_MAX_LIMIT` of include/linux/threads.h on 64-bit kernels.
const PID_MAX_LIMIT: u32 = 4 << 20;

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Pid {
    type Err = String;

    fn from_str(text: &str) -> Result<Pid, String> {
        let number: Option<u32> = text
            .parse()
            .ok()
            .filter(|n| (1..=PID_MAX_LIMIT).contains(n));
        let digits_only = text.bytes().all(|b| b.is_ascii_digit());
        number.filter(|_| digits_only).map(Pid).ok_or_else(|| {
            "not a process id: `offheap list` shows the JVMs on this host".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only positive numbers that a kernel can hand out are pids.
    #[test]
    fn parse() {
        assert_eq!("4242".parse(), Ok(Pid(4242)));
        for wrong in ["0", "-1", "+7", "java", "", "4194305", "99999999999"] {
            assert!(wrong.parse::<Pid>().is_err(), "{wrong}");
        }
    }
}
