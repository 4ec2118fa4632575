//! The ring of events, and what was taken out of it in time.
//!
//! A ring holds some milliseconds of a busy target. Whoever books the records is away for longer now and then: a snapshot
//! names its stacks, a look at the mappings opens files, and a busy machine has others to run. So a thread of its own waits
//! for the programs' wake-up, which comes when a quarter of the ring is waiting, and moves what is there behind the ring into
//! memory of ours. It sleeps for as long as the records are fetched in time, and nothing is copied twice.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;

use crate::capture::Fill;
use crate::events;

/// Bytes of records that may wait behind the ring: some 10,000 stacks, which is 0.2 s of 50,000 stacks a second. Full: the
/// ring fills, and what it has no room for is counted as lost. Where the kernel's maps are full as well, what userspace alone
/// keeps goes on being taken, without stacks.
const BACKLOG: usize = 128 << 20;
/// For what is taken without stacks. Full: the ring fills.
const WITHOUT_STACKS: usize = BACKLOG + BACKLOG / 2;
/// How long the thread leaves a full backlog alone.
const FULL: Duration = Duration::from_millis(1);

/// The ring and its backlog. Records leave it in the order in which they came.
pub struct Ring {
    shared: Arc<Mutex<Shared>>,
    /// The map's own; open for as long as `shared` is there.
    fd: RawFd,
    relief: Option<Relief>,
}

struct Shared {
    ring: RingBuf<MapData>,
    backlog: VecDeque<Bytes>,
    /// In the backlog.
    bytes: usize,
    most: usize,
    /// The most that was moved out of the ring at once.
    fullest: u64,
    /// There was something that userspace alone keeps.
    has_spilled: bool,
    /// Stacks that the backlog had no room for.
    lost: u64,
}

/// How much waits, and has waited.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Bytes in the backlog.
    pub backlog: u64,
    /// The most that there were.
    pub most: Fill,
    /// The most that the ring held when it was relieved.
    pub fullest: u64,
    /// Stacks that were lost in here, and are not counted by the programs.
    pub lost: u64,
}

/// The thread; ends when it is dropped.
struct Relief {
    end: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl From<RingBuf<MapData>> for Ring {
    fn from(ring: RingBuf<MapData>) -> Ring {
        let fd = ring.as_raw_fd();
        let shared = Shared {
            ring,
            backlog: VecDeque::new(),
            bytes: 0,
            most: 0,
            fullest: 0,
            has_spilled: false,
            lost: 0,
        };
        Ring {
            shared: Arc::new(Mutex::new(shared)),
            fd,
            relief: None,
        }
    }
}

impl Ring {
    /// Appends copies of the records that wait, oldest first, until none is left or `limit` bytes are taken. Gives the bytes.
    pub fn take(&mut self, limit: u64, records: &mut Vec<Bytes>) -> u64 {
        let mut shared = lock(&self.shared);
        let mut taken = 0;
        while taken < limit
            && let Some((record, bytes)) = shared.next()
        {
            taken += bytes as u64;
            records.push(record);
        }
        taken
    }

    pub fn waiting(&self) -> Waiting {
        let shared = lock(&self.shared);
        Waiting {
            backlog: shared.bytes as u64,
            most: Fill {
                used: shared.most as u64,
                capacity: WITHOUT_STACKS as u64,
            },
            fullest: shared.fullest,
            lost: shared.lost,
        }
    }

    /// Has a thread look after the ring, which calls `prepare` first.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn relieve(&mut self, prepare: fn()) -> io::Result<()> {
        let (end, edge) = (event()?, Edge::new(self.fd)?);
        edge.add(end.as_raw_fd())?;
        let (shared, ends) = (Arc::clone(&self.shared), end.as_raw_fd());
        let thread = std::thread::Builder::new().name("offheap-ring".to_owned());
        let thread = thread.spawn(move || {
            prepare();
            relieve(&shared, &edge, ends);
        })?;
        let thread = Some(thread);
        self.relief = Some(Relief { end, thread });
        Ok(())
    }

    /// Becomes readable when the ring fills faster than it is drained.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring is open for as long as `self` is.
        unsafe { BorrowedFd::borrow_raw(self.fd) }.try_clone_to_owned()
    }
}

impl Shared {
    /// The oldest record, and the bytes that it took where it waited: in the ring there is room for more than is used.
    fn next(&mut self) -> Option<(Bytes, usize)> {
        if let Some(record) = self.backlog.pop_front() {
            let bytes = record.len();
            self.bytes -= bytes;
            return Some((record, bytes));
        }
        let record = self.ring.next()?;
        self.has_spilled |= events::is_spilled(&record);
        Some((events::copy_used(&record), record.len()))
    }

    /// Moves what waits in the ring behind it, as far as there is room; false where there is none.
    fn relieve(&mut self) -> bool {
        let mut moved = 0;
        while self.has_room()
            && let Some(record) = self.ring.next()
        {
            moved += record.len() as u64;
            self.has_spilled |= events::is_spilled(&record);
            let kept = match self.bytes < BACKLOG {
                true => Some(events::copy_used(&record)),
                false => events::without_stack(&record),
            };
            if self.bytes >= BACKLOG && events::has_stack(&record) {
                self.lost += 1;
            }
            self.bytes += kept.as_ref().map_or(0, Bytes::len);
            self.backlog.extend(kept);
        }
        self.most = self.most.max(self.bytes);
        self.fullest = self.fullest.max(moved);
        self.has_room()
    }

    fn has_room(&self) -> bool {
        let most = if self.has_spilled {
            WITHOUT_STACKS
        } else {
            BACKLOG
        };
        self.bytes < most
    }
}

/// Nothing in here panics, and whatever did would leave records that are whole.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn relieve(shared: &Mutex<Shared>, edge: &Edge, end: RawFd) {
    while let Ok(ready) = edge.wait() {
        if ready == end {
            return;
        }
        if !lock(shared).relieve() {
            std::thread::sleep(FULL);
        }
    }
}

impl Drop for Relief {
    fn drop(&mut self) {
        let one = 1u64;
        // SAFETY: an open descriptor, and eight bytes to read from.
        unsafe { libc::write(self.end.as_raw_fd(), (&raw const one).cast(), 8) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn event() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers alone.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })
}

/// Says when one of its descriptors was woken, and not while there is anything to read: the ring nearly always has something.
struct Edge(OwnedFd);

impl Edge {
    fn new(fd: RawFd) -> io::Result<Edge> {
        // SAFETY: takes a number.
        let edge = Edge(owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?);
        edge.add(fd)?;
        Ok(edge)
    }

    fn add(&self, fd: RawFd) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: fd as u64,
        };
        let edge = self.0.as_raw_fd();
        // SAFETY: open descriptors, and an event that lives during the call.
        match unsafe { libc::epoll_ctl(edge, libc::EPOLL_CTL_ADD, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The descriptor that was woken.
    fn wait(&self) -> io::Result<RawFd> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: room for one event.
            if unsafe { libc::epoll_wait(self.0.as_raw_fd(), &mut event, 1, -1) } == 1 {
                return Ok(event.u64 as RawFd);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us, and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
