//! Tells the programs where the JVM notes each thread's last Java frame, so that they can copy the note with the stack.
//!
//! With it a walk goes on behind native code that can't be left, and is compared with what the JVM itself says. Of a
//! thread that is too new to be known the note is read later, from the live thread, and is believed only where it fits.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Trace, inner_tid};

/// The JVM's list of threads is read no more often than this: with a thousand of them it takes some two milliseconds.
const MIN_LISTED: Duration = Duration::from_millis(50);
/// A thread that is not in the list is looked for again after this. It may be about to attach itself; most never will,
/// such as those of the collector.
const OTHER: Duration = Duration::from_millis(250);

/// Threads that are no JVM's and are remembered. When full it starts anew.
const MAX_OTHERS: usize = 1 << 16;

/// What the programs have been told.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// Addresses by thread, as this host numbers it.
    told: HashMap<u32, u64>,
    /// Threads that were looked for and are not in the list, and when that was.
    others: HashMap<u32, Instant>,
    listed: Option<Instant>,
    /// Ids of this host by those of the target, where they differ.
    outer_tids: HashMap<u32, u32>,
}

impl Trace {
    /// A stack of `tid` came without its note: the thread may be new.
    pub(super) fn learn_anchor(&mut self, tid: u32) {
        let anchors = &mut self.anchors;
        let is_other = |looked: &Instant| looked.elapsed() < OTHER;
        let is_recent = |listed: Instant| listed.elapsed() < MIN_LISTED;
        if anchors.told.contains_key(&tid)
            || anchors.others.get(&tid).is_some_and(is_other)
            || anchors.listed.is_some_and(is_recent)
        {
            return;
        }
        self.tell_anchors();
        let Anchors { told, others, .. } = &mut self.anchors;
        if !told.contains_key(&tid) {
            if others.len() >= MAX_OTHERS {
                others.clear();
            }
            others.insert(tid, Instant::now());
        }
    }

    /// Lists the JVM's threads, and tells of those that are new and those that are gone.
    pub(super) fn tell_anchors(&mut self) {
        let now = Instant::now();
        let Some(listed) = self.accounts.unwinder.anchors() else {
            return;
        };
        self.anchors.listed = Some(now);
        let listed = self.by_outer_tid(listed);
        let anchors = &mut self.anchors;
        anchors.others.retain(|_, looked| looked.elapsed() < OTHER);
        anchors.told.retain(|tid, address| {
            let is_there = listed.get(tid) == Some(address);
            if !is_there {
                // One that is not in the map needs not be taken out.
                let _ = self.probes.set_anchor(*tid, None);
            }
            is_there
        });
        for (tid, address) in listed {
            if !anchors.told.contains_key(&tid)
                && self.probes.set_anchor(tid, Some(address)).is_ok()
            {
                anchors.told.insert(tid, address);
            }
        }
    }

    /// The JVM knows its threads by the ids that it sees itself.
    fn by_outer_tid(&mut self, listed: Vec<(u32, u64)>) -> HashMap<u32, u64> {
        if self.process.namespaces.other_pid == Some(false) {
            return listed.into_iter().collect();
        }
        let known = &mut self.anchors.outer_tids;
        if listed.iter().any(|(inner, _)| !known.contains_key(inner)) {
            known.clear();
            for tid in self.process.threads().unwrap_or_default() {
                if let Some(inner) = inner_tid(&self.process, tid.0) {
                    known.insert(inner, tid.0);
                }
            }
        }
        let outer = |(inner, address)| Some((*known.get(&inner)?, address));
        listed.into_iter().filter_map(outer).collect()
    }
}
