//! CPU time of a process.

use std::time::Duration;

use super::Pid;

/// The CPU clock of a process: the time that all its threads have run, also those that have ended.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// None when there is no such process.
    pub fn of(pid: Pid) -> Option<CpuClock> {
        let mut clock = 0;
        let pid = libc::pid_t::try_from(pid.0).ok()?;
        // SAFETY: `clock` is live for the call, which writes it.
        let failed = unsafe { libc::clock_getcpuclockid(pid, &mut clock) } != 0;
        (!failed).then_some(CpuClock(clock))
    }

    /// None once the process has ended.
    pub fn now(self) -> Option<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is live for the call, which writes it.
        let failed = unsafe { libc::clock_gettime(self.0, &mut time) } != 0;
        let (seconds, rest) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        (!failed).then_some(Duration::new(seconds.ok()?, rest.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// The clock of a process that computes goes on, and that of none says nothing.
    #[test]
    fn it_counts_what_is_computed() {
        let clock = CpuClock::of(Pid(std::process::id())).unwrap();
        let (begin, start) = (clock.now().unwrap(), Instant::now());
        while clock.now().unwrap() <= begin {
            assert!(start.elapsed() < Duration::from_secs(60), "it stands still");
        }
        assert!(CpuClock::of(Pid(u32::MAX)).is_none());
    }
}
