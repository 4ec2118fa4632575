//! Whether the kernel's OOM killer was at work where the target lived.

use super::Trace;
use crate::capture::OomKill;
use crate::target::process::Process;
use crate::threshold::Usage;
use crate::triage::cgroup::{self, Spot};

/// The target's memory cgroup, and what it had said at the attach.
pub(super) struct Group {
    spot: Option<Spot>,
    kills: u64,
}

impl Group {
    pub(super) fn of(process: &Process) -> Group {
        let spot = cgroup::find(process);
        let found = spot.as_ref().and_then(|spot| spot.read(process));
        Group {
            kills: found.and_then(|found| found.oom_kills).unwrap_or(0),
            spot,
        }
    }
}

impl Trace {
    /// What the target and its cgroup use now.
    pub fn usage(&self) -> Usage {
        let found = self.group.spot.as_ref();
        let found = found.and_then(|spot| spot.read(&self.process));
        let cgroup = found.and_then(|found| {
            // Page cache that nobody uses is dropped before anybody is killed.
            let used = found
                .usage?
                .saturating_sub(found.inactive_file.unwrap_or(0));
            Some((used, found.limit?))
        });
        Usage {
            rss: self.process.rss().unwrap_or(0),
            cgroup,
        }
    }

    /// Kills of the cgroup since the attach, once the target has ended. The cgroup of a container may go soon after it.
    pub(super) fn oom_kill(&self) -> Option<OomKill> {
        if !self.process.ended() {
            return None;
        }
        let found = self.group.spot.as_ref()?.read(&self.process)?;
        let kills = found.oom_kills?.saturating_sub(self.group.kills);
        (kills > 0).then_some(OomKill {
            cgroup: found.path,
            kills,
            limit: found.limit,
        })
    }
}
