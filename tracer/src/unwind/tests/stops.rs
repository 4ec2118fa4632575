//! Stops threads of a child process with ptrace, to take captures as the kernel side would: registers and stack bytes.
//!
//! Only tests do this: the tracer itself never stops its target.

use std::collections::HashSet;
use std::ffi::c_void;
use std::io;
use std::ops::RangeInclusive;

use crate::target::modules::maps;
use crate::unwind::memory::{Memory, ProcessMemory};
use crate::unwind::{Registers, ReplacedReturn, StackCapture};

/// `int3`.
const TRAP: u8 = 0xcc;
/// The first byte of `push %r12`, `push %r13` …
const REX_B: u8 = 0x41;

/// A child process, in a process group of its own, whose threads all are traced by this thread.
pub struct Stops {
    pid: i32,
    threads: HashSet<i32>,
    breakpoint: Option<u64>,
    /// The calls that are shown: by their first argument.
    wanted: RangeInclusive<u64>,
}

/// Sent to the process, it ends the wait for a stop; nobody else sees it.
pub const WAKE: libc::c_int = libc::SIGURG;

/// A stopped thread, as a capture.
pub struct Stop {
    pub tid: i32,
    pub registers: Registers,
    pub bytes: Vec<u8>,
    pub truncated: bool,
    pid: i32,
    raw: libc::user_regs_struct,
}

/// A capture that outlives the stop.
#[derive(Clone)]
pub struct Copy {
    pub tid: i32,
    pub registers: Registers,
    pub bytes: Vec<u8>,
    pub truncated: bool,
}

impl Copy {
    pub fn capture(&self) -> StackCapture<'_> {
        StackCapture {
            registers: self.registers,
            ip_is_return_address: false,
            bytes: &self.bytes,
            missing: 0,
            taken: std::time::Instant::now(),
            truncated: self.truncated,
            tid: self.tid as u32,
            replaced: &[],
            anchor: None,
        }
    }
}

impl Stop {
    pub fn copy(&self) -> Copy {
        Copy {
            tid: self.tid,
            registers: self.registers,
            bytes: self.bytes.clone(),
            truncated: self.truncated,
        }
    }

    /// The first argument of the call.
    pub fn argument(&self) -> u64 {
        self.raw.rdi
    }

    /// The process that the thread belongs to.
    pub fn process(&self) -> u32 {
        self.pid as u32
    }

    pub fn capture<'a>(&'a self, replaced: &'a [ReplacedReturn]) -> StackCapture<'a> {
        StackCapture {
            registers: self.registers,
            ip_is_return_address: false,
            bytes: &self.bytes,
            missing: 0,
            taken: std::time::Instant::now(),
            truncated: self.truncated,
            tid: self.tid as u32,
            replaced,
            anchor: None,
        }
    }
}

impl Stops {
    /// Begins to trace all threads of `pid`, which leads a process group.
    pub fn seize(pid: u32) -> io::Result<Self> {
        let mut stops = Stops {
            pid: pid as i32,
            threads: HashSet::new(),
            breakpoint: None,
            wanted: 0..=u64::MAX,
        };
        // Threads that are born in between are found in the next round.
        loop {
            let before = stops.threads.len();
            for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let tid = entry?
                    .file_name()
                    .to_string_lossy()
                    .parse()
                    .map_err(io::Error::other)?;
                if stops.threads.insert(tid) {
                    let options = libc::PTRACE_O_TRACECLONE as usize;
                    // A thread that is traced already came with its traced parent.
                    let _ = ptrace(libc::PTRACE_SEIZE, tid, 0, options);
                }
            }
            if stops.threads.len() == before {
                return Ok(stops);
            }
        }
    }

    /// Stops every thread, calls `visit` for each, and lets them go on.
    pub fn all(&mut self, mut visit: impl FnMut(&Stop)) -> io::Result<()> {
        let mut stopped = Vec::new();
        for &tid in &self.threads {
            if ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0).is_ok() && wait(tid)?.is_some() {
                stopped.push(tid);
            }
        }
        for &tid in &stopped {
            visit(&self.stop(tid)?);
        }
        for tid in stopped {
            ptrace(libc::PTRACE_CONT, tid, 0, 0)?;
        }
        Ok(())
    }

    /// Puts a breakpoint on `address`, which has to be a `push` of one of the upper registers, as malloc begins with.
    pub fn break_at(&mut self, address: u64) -> io::Result<bool> {
        let code = ProcessMemory::open(self.pid as u32)?
            .read_u64(address)
            .map_err(|_| io::Error::other("no code"))?;
        let [first, second, ..] = code.to_le_bytes();
        if first != REX_B || !(0x54..=0x57).contains(&second) {
            return Ok(false);
        }
        self.breakpoint = Some(address);
        self.poke_byte(TRAP)?;
        Ok(true)
    }

    /// Shows only calls whose first argument is one of these.
    pub fn only(&mut self, wanted: RangeInclusive<u64>) {
        self.wanted = wanted;
    }

    /// Waits until a thread runs into the breakpoint; None when the process has ended, or has got [`WAKE`].
    pub fn next(&mut self) -> io::Result<Option<Stop>> {
        let Some(breakpoint) = self.breakpoint else {
            return Ok(None);
        };
        loop {
            let Some((tid, status)) = wait_group(self.pid)? else {
                return Ok(None);
            };
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                self.threads.remove(&tid);
                continue;
            }
            self.threads.insert(tid);
            let signal = libc::WSTOPSIG(status);
            if signal == libc::SIGTRAP && status >> 16 == 0 {
                let raw = registers(tid)?;
                if raw.rip == breakpoint + 1 && !self.wanted.contains(&raw.rdi) {
                    self.pass(tid, raw)?;
                    continue;
                }
                if raw.rip == breakpoint + 1 {
                    let mut stop = self.stop(tid)?;
                    stop.registers.ip = breakpoint;
                    return Ok(Some(stop));
                }
            }
            if signal == WAKE && status >> 16 == 0 {
                ptrace(libc::PTRACE_CONT, tid, 0, 0)?;
                return Ok(None);
            }
            // Group stops and new threads' first stops carry an event; other signals are the program's own.
            let forward = if status >> 16 == 0 { signal } else { 0 };
            let _ = ptrace(libc::PTRACE_CONT, tid, 0, forward as usize);
        }
    }

    /// Lets a thread go on from the breakpoint: does what the replaced `push` would have done.
    pub fn resume(&mut self, stop: Stop) -> io::Result<()> {
        self.pass(stop.tid, stop.raw)
    }

    fn pass(&self, tid: i32, mut raw: libc::user_regs_struct) -> io::Result<()> {
        let breakpoint = self
            .breakpoint
            .ok_or_else(|| io::Error::other("no breakpoint"))?;
        let second = ProcessMemory::open(self.pid as u32)?
            .read_u8(breakpoint + 1)
            .map_err(|_| io::Error::other("no code"))?;
        let value = match second {
            0x54 => raw.r12,
            0x55 => raw.r13,
            0x56 => raw.r14,
            _ => raw.r15,
        };
        raw.rsp -= 8;
        raw.rip = breakpoint + 2;
        ptrace_at(libc::PTRACE_POKEDATA, tid, raw.rsp, value as usize)?;
        // SAFETY: the thread is stopped and traced by us, and `raw` is the structure that the call reads.
        let set = unsafe {
            libc::ptrace(
                libc::PTRACE_SETREGS,
                tid,
                std::ptr::null_mut::<c_void>(),
                &raw const raw,
            )
        };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        ptrace(libc::PTRACE_CONT, tid, 0, 0)
    }

    fn stop(&self, tid: i32) -> io::Result<Stop> {
        let raw = registers(tid)?;
        let text = maps::read(self.pid as u32)?;
        let end = maps::parse(&text)
            .find(|mapping| (mapping.start..mapping.end).contains(&raw.rsp))
            .map_or(raw.rsp, |m| m.end);
        let len = (end - raw.rsp).min(1 << 20);
        let bytes = ProcessMemory::open(self.pid as u32)?.read_up_to(raw.rsp, len as usize);
        let registers = Registers {
            ip: raw.rip,
            sp: raw.rsp,
            fp: raw.rbp,
            lr: 0,
        };
        Ok(Stop {
            tid,
            registers,
            truncated: (bytes.len() as u64) < end - raw.rsp,
            bytes,
            pid: self.pid,
            raw,
        })
    }

    fn poke_byte(&self, byte: u8) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let address = self
            .breakpoint
            .ok_or_else(|| io::Error::other("no breakpoint"))?;
        let memory = std::fs::OpenOptions::new()
            .write(true)
            .open(format!("/proc/{}/mem", self.pid))?;
        memory.write_all_at(&[byte], address)
    }
}

fn registers(tid: i32) -> io::Result<libc::user_regs_struct> {
    // SAFETY: plain integers, for which zero is a value; the call below fills it.
    let mut raw: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the thread is stopped and traced by us, and `raw` is the structure that the call fills.
    let got = unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGS,
            tid,
            std::ptr::null_mut::<c_void>(),
            &raw mut raw,
        )
    };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(raw)
}

fn ptrace(request: libc::c_uint, tid: i32, address: u64, data: usize) -> io::Result<()> {
    ptrace_at(request, tid, address, data)
}

fn ptrace_at(request: libc::c_uint, tid: i32, address: u64, data: usize) -> io::Result<()> {
    // SAFETY: none of the requests used here writes to this process's memory.
    let done = unsafe { libc::ptrace(request, tid, address as *mut c_void, data as *mut c_void) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Waits for `tid` to stop; None when it has ended.
fn wait(tid: i32) -> io::Result<Option<()>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let got = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::WIFSTOPPED(status).then_some(()))
}

/// Waits until no process or traced thread of a killed group is left.
pub fn reap(group: u32) {
    while let Ok(Some(_)) = wait_group(group as i32) {}
}

fn wait_group(group: i32) -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let got = unsafe { libc::waitpid(-group, &raw mut status, libc::__WALL) };
    match got {
        -1 if io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        tid => Ok(Some((tid, status))),
    }
}
