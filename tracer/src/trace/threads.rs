//! Who allocated: the threads of the target by name, where sites are split by thread.
//!
//! A thread has the name that it had when it was last looked at: when it was first seen in a stack, again in its first second
//! until the name is certain, then at most once a second while it allocates, and at each snapshot. One that has ended keeps its name, and one that had ended before it
//! was looked at has the kernel's, which comes with the event; one that was renamed has the new name, by which it is found
//! in a thread dump. An id that is used again is another thread.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::accounts::ThreadId;
use crate::target::Tid;
use crate::target::process::Process;
use crate::target::text;
use crate::unwind::hotspot::JavaThreadName;

/// A thread is looked at again after this.
const KNOWN: Duration = Duration::from_secs(1);
/// A thread that is not known for sure yet is looked at again after this, for as long as it is young: a new thread has
/// its creator's name, and gets its own in its first moments.
const UNSURE: Duration = Duration::from_millis(10);
/// So many of those are looked at again by themselves; more only when they allocate.
const MAX_UNSURE: usize = 64;
/// Bytes of `stat` that are read: its fields have about 350.
const MAX_STAT: u64 = 4096;
/// The kernel's name of a thread has at most so many bytes (TASK_COMM_LEN without its NUL).
const COMM: usize = 15;

/// Threads that sites are of, and those that may still be there.
#[derive(Debug, Default)]
pub(super) struct Threads {
    known: HashMap<ThreadId, Thread>,
    /// Ids are not given twice.
    next: u32,
    by_tid: HashMap<u32, ThreadId>,
    /// Young ones without a certain name: they may never allocate again, and end before a snapshot.
    unsure: Vec<u32>,
}

#[derive(Debug)]
struct Thread {
    tid: u32,
    /// Clock ticks from boot to its start; None for one that had ended before it was looked at.
    start: Option<u64>,
    name: Option<Name>,
    first: Instant,
    looked: Instant,
}

/// What a thread is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    text: String,
    is_carrier: bool,
    is_sure: bool,
}

/// A thread as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    comm: Vec<u8>,
    start: u64,
}

impl Threads {
    /// The thread `tid`, which has just allocated and was called `comm` (with zeroes behind it) by the kernel then.
    pub fn seen(
        &mut self,
        process: &Process,
        tid: u32,
        comm: &[u8],
        now: Instant,
        java: impl FnOnce() -> Option<JavaThreadName>,
    ) -> ThreadId {
        let known = self.by_tid.get(&tid).copied();
        match known.filter(|&id| self.thread(id).is_some_and(|thread| !thread.is_due(now))) {
            Some(id) => id,
            None => self.look_at(process, tid, comm, now, java),
        }
    }

    fn look_at(
        &mut self,
        process: &Process,
        tid: u32,
        comm: &[u8],
        now: Instant,
        java: impl FnOnce() -> Option<JavaThreadName>,
    ) -> ThreadId {
        let known = self.by_tid.get(&tid).copied();
        let stat = stat(process, tid);
        let is_same = known.and_then(|id| self.thread(id)).is_some_and(|thread| {
            // What has ended is what it was.
            stat.is_none() || thread.start == stat.as_ref().map(|stat| stat.start)
        });
        let id = match known.filter(|_| is_same) {
            Some(id) => id,
            None => self.add(tid, stat.as_ref().map(|stat| stat.start), now),
        };
        if let Some(thread) = self.known.get_mut(&id) {
            thread.looked = now;
            match stat {
                Some(stat) => thread.learn(Name::of(&stat.comm, java())),
                // It has ended, and this is all that is left of it.
                None => thread.learn_late(comm),
            }
            let waits = self.unsure.contains(&tid) || self.unsure.len() >= MAX_UNSURE;
            if thread.is_unsure(now) && !waits {
                self.unsure.push(tid);
            }
        }
        id
    }

    /// Looks again at young threads whose names are not certain yet.
    pub fn look_again(
        &mut self,
        process: &Process,
        now: Instant,
        mut java: impl FnMut(u32) -> Option<JavaThreadName>,
    ) {
        for tid in self.unsure.clone() {
            if self.of_tid(tid).is_some_and(|thread| thread.is_due(now)) {
                self.look_at(process, tid, &[], now, || java(tid));
            }
        }
        let mut unsure = std::mem::take(&mut self.unsure);
        unsure.retain(|&tid| self.of_tid(tid).is_some_and(|thread| thread.is_unsure(now)));
        self.unsure = unsure;
    }

    /// Looks again at all threads that may still be there.
    pub fn look(
        &mut self,
        process: &Process,
        now: Instant,
        mut java: impl FnMut(u32) -> Option<JavaThreadName>,
    ) {
        let tids: Vec<u32> = self.by_tid.keys().copied().collect();
        for tid in tids {
            self.look_at(process, tid, &[], now, || java(tid));
            // The name that it has is its last; whoever gets the id is another.
            if stat(process, tid).is_none() {
                self.by_tid.remove(&tid);
            }
        }
    }

    /// How reports call a thread: by its name, and by the id that this host knows it by.
    pub fn label(&self, id: ThreadId) -> String {
        let Some(thread) = self.thread(id) else {
            return "unknown".to_owned();
        };
        let tid = thread.tid;
        match &thread.name {
            None => format!("ended ({tid})"),
            Some(name) if name.is_carrier => format!("{} [carrier] ({tid})", name.text),
            Some(name) => format!("{} ({tid})", name.text),
        }
    }

    fn thread(&self, id: ThreadId) -> Option<&Thread> {
        self.known.get(&id)
    }

    fn of_tid(&self, tid: u32) -> Option<&Thread> {
        self.thread(*self.by_tid.get(&tid)?)
    }

    fn add(&mut self, tid: u32, start: Option<u64>, now: Instant) -> ThreadId {
        let id = ThreadId(self.next);
        self.next = self.next.wrapping_add(1);
        let thread = Thread {
            tid,
            start,
            name: None,
            first: now,
            looked: now,
        };
        self.known.insert(id, thread);
        self.by_tid.insert(tid, id);
        id
    }

    /// Forgets the threads that no site is of.
    pub fn retain(&mut self, is_used: impl Fn(ThreadId) -> bool) {
        self.known.retain(|&id, _| is_used(id));
        let known = &self.known;
        self.by_tid.retain(|_, id| known.contains_key(id));
    }
}

impl Thread {
    /// A thread that is about to end has lost its Java name already, and keeps the one that it had.
    fn learn(&mut self, name: Name) {
        let was_sure = self.name.as_ref().is_some_and(|name| name.is_sure);
        if name.is_sure || !was_sure {
            self.name = Some(name);
        }
    }

    fn learn_late(&mut self, comm: &[u8]) {
        let comm = comm.split(|&byte| byte == 0).next().unwrap_or_default();
        if !comm.is_empty() {
            self.learn(Name::of(comm, None));
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let wait = if self.is_unsure(now) { UNSURE } else { KNOWN };
        now.duration_since(self.looked) >= wait
    }

    fn is_unsure(&self, now: Instant) -> bool {
        let is_young = now.duration_since(self.first) < KNOWN;
        let is_sure = self.name.as_ref().is_some_and(|name| name.is_sure);
        is_young && !is_sure
    }
}

impl Name {
    /// The Java name where it is certain, or where the kernel's agrees; else the kernel's.
    fn of(comm: &[u8], java: Option<JavaThreadName>) -> Name {
        match java {
            Some(java) if agrees(comm, &java.text) => Name {
                text: text::printable(java.text.as_bytes()),
                is_carrier: java.is_carrier,
                is_sure: true,
            },
            // Its own name may be on the way to the kernel; or it has attached itself, or was renamed by another.
            Some(java) if java.is_sure => Name {
                text: text::printable(java.text.as_bytes()),
                is_carrier: java.is_carrier,
                is_sure: true,
            },
            _ => Name {
                text: text::printable(comm),
                is_carrier: false,
                is_sure: false,
            },
        }
    }
}

/// Whether `comm` is what HotSpot tells the kernel of a thread called `name`: its first bytes, or, since JDK 22, its
/// first seven and its last six with two dots between (`os::set_native_thread_name` on Linux).
fn agrees(comm: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    if name.len() <= COMM {
        return comm == name;
    }
    let ends = [&name[..7], b"..", &name[name.len() - 6..]].concat();
    comm == &name[..COMM] || comm == ends
}

fn stat(process: &Process, tid: u32) -> Option<Stat> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = process.open_file(format!("task/{}/stat", Tid(tid))).ok()?;
    file.take(MAX_STAT).read_to_end(&mut text).ok()?;
    Stat::parse(&text)
}

impl Stat {
    /// proc_pid_stat(5): the name is in parentheses and may hold any byte; the start is the 22nd field.
    fn parse(text: &[u8]) -> Option<Stat> {
        let open = text.iter().position(|&byte| byte == b'(')?;
        let close = text.iter().rposition(|&byte| byte == b')')?;
        let comm = text.get(open + 1..close)?.to_vec();
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let start = rest.split_whitespace().nth(19)?.parse().ok()?;
        Some(Stat { comm, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Pid;

    fn java(text: &str, is_sure: bool) -> Option<JavaThreadName> {
        Some(JavaThreadName {
            text: text.to_owned(),
            is_carrier: false,
            is_sure,
        })
    }

    /// The kernel's name agrees where it is the beginning of the Java name, in bytes, or both of its ends.
    #[test]
    fn agreement() {
        assert!(agrees(b"main", "main"));
        assert!(!agrees(b"java", "main"));
        assert!(!agrees(b"", "main"));
        assert!(agrees(b"http-nio-8080-e", "http-nio-8080-exec-12"));
        assert!(agrees(b"http-ni..xec-12", "http-nio-8080-exec-12"));
        assert!(!agrees(b"http-nio-8080-e", "http-nio-9090-exec-12"));
        // A character may be cut in two.
        let name = "Größenänderungsfaden";
        assert!(agrees(&name.as_bytes()[..COMM], name));
    }

    /// A Java name is taken where it is sure or the kernel agrees, and the kernel's else.
    #[test]
    fn names() {
        let name = |comm: &[u8], java| Name::of(comm, java).text;
        assert_eq!(name(b"java", java("main", true)), "main");
        assert_eq!(name(b"java", java("main", false)), "java");
        assert_eq!(name(b"worker", java("worker", false)), "worker");
        assert_eq!(name(b"a\x1b[2J", None), "a\u{fffd}[2J");
        assert!(!Name::of(b"java", None).is_sure);
    }

    /// A new thread that never allocates again has its name all the same, and is let be when it is certain.
    #[test]
    fn unsure_names_are_looked_at_again() {
        let tid = std::process::id();
        let process = Process::open(Pid(tid)).unwrap();
        let (mut threads, start) = (Threads::default(), Instant::now());
        let id = threads.seen(&process, tid, b"", start, || None);
        assert!(!threads.label(id).starts_with("main ("));
        threads.look_again(&process, start, |_| panic!("not yet"));
        threads.look_again(&process, start + UNSURE, |_| java("main", true));
        assert!(threads.label(id).starts_with("main ("));
        threads.look_again(&process, start + KNOWN, |_| panic!("no more"));
    }

    /// A name with parentheses, spaces and bytes that are no text does not confuse the fields behind it.
    #[test]
    fn stat_lines() {
        let fields = "S 1 1 1 0 -1 4194304 9 0 0 0 1 2 0 0 20 0 1 0 4711 8192 1";
        let line = [&b"12 (a) (b \xff) "[..], fields.as_bytes()].concat();
        let stat = Stat::parse(&line).unwrap();
        assert_eq!(
            (stat.comm.as_slice(), stat.start),
            (&b"a) (b \xff"[..], 4711)
        );
        assert_eq!(Stat::parse(b"12 (short) S 1"), None);
        assert_eq!(Stat::parse(b""), None);
    }
}
