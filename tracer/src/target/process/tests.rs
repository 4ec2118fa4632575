use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::exit::TargetEnded;
use crate::target::user;

/// A process of this test, ended with it.
struct Spawned(Child);

impl Spawned {
    /// A `cat` that has answered, so that it is past its exec.
    fn cat() -> Spawned {
        let mut cat = Command::new("cat")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cat.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
        let mut answer = [0; 6];
        cat.stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut answer)
            .unwrap();
        Spawned(cat)
    }

    fn pid(&self) -> Pid {
        Pid(self.0.id())
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn refusal(pid: Pid) -> Refusal {
    Process::open(pid).unwrap_err().downcast().unwrap()
}

fn is_root() -> bool {
    user::effective() == 0
}

/// The facts of a process that we started are the ones that we gave it.
#[test]
fn facts_of_a_child() {
    let child = Spawned::cat();
    let process = Process::open(child.pid()).unwrap();
    assert_eq!(process.cmdline, ["cat", "-"]);
    assert_eq!(process.comm, "cat");
    assert_eq!(process.namespaces.other_mount, Some(false));
    assert_eq!(process.namespaces.innermost_pid(child.pid()), child.pid());
    assert!(process.rss().unwrap() > 0);
    assert_eq!(process.threads().unwrap(), [Tid(child.pid().0)]);
    assert_eq!(
        process.ns_tid(Tid(child.pid().0)).unwrap(),
        Tid(child.pid().0)
    );
    assert!(!process.ended());
}

/// The end of a process is noticed, its files fail afterwards, and waiting for it returns.
#[test]
fn the_end_is_noticed() {
    let mut child = Spawned::cat();
    let process = Process::open(child.pid()).unwrap();
    child.end();
    assert!(process.ended());
    assert!(process.rss().is_err() && process.threads().is_err());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(process.wait_for_end()).unwrap();
    assert!(matches!(refusal(child.pid()), Refusal::NoSuchProcess(_)));
}

/// A pid that nobody has is refused with the way to find the right one.
#[test]
fn no_such_process() {
    // Above any pid_max that a kernel can be set to.
    let refused = refusal(Pid((4 << 20) + 1));
    assert!(matches!(refused, Refusal::NoSuchProcess(_)));
    assert!(refused.to_string().contains("offheap list"));
    assert!(matches!(refusal(Pid(u32::MAX)), Refusal::NoSuchProcess(_)));
}

/// A zombie has ended: there is nothing to trace, and that is told apart from a pid that never was.
#[test]
fn zombie() {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let pid = Pid(child.id());
    // Waits for the exit without reaping: WNOWAIT leaves the zombie.
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is writable memory of the right type.
    let waited = unsafe {
        libc::waitid(
            libc::P_PID,
            pid.0,
            info.as_mut_ptr(),
            libc::WEXITED | libc::WNOWAIT,
        )
    };
    assert_eq!(waited, 0);
    let error = Process::open(pid).unwrap_err();
    assert!(error.downcast_ref::<TargetEnded>().is_some(), "{error:#}");
    assert!(error.to_string().contains("zombie"), "{error:#}");
    child.wait().unwrap();
}

/// A kernel thread is named as such. Where no kernel thread can be seen (a pid namespace) there is none to try.
#[test]
fn kernel_thread() {
    let is_kthreadd = fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n");
    if !is_kthreadd {
        assert_ne!(
            super::super::namespaces::inode("self", "pid").unwrap(),
            super::super::namespaces::INITIAL_PID
        );
        eprintln!("skipped: kernel threads can't be seen from this pid namespace");
        return;
    }
    let refused = refusal(Pid(2));
    assert!(
        matches!(&refused, Refusal::KernelThread { comm, .. } if comm == "kthreadd"),
        "{refused}"
    );
}

/// A thread id is refused with the pid of its process.
#[test]
fn thread_id() {
    let (give_tid, tid) = std::sync::mpsc::channel();
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: gettid has no preconditions.
        give_tid.send(unsafe { libc::gettid() }).unwrap();
        wait.recv()
    });
    let tid = tid.recv().unwrap() as u32;
    let refused = refusal(Pid(tid));
    assert!(
        matches!(refused, Refusal::IsThread { tid: Tid(t), pid: Pid(p) } if t == tid && p == std::process::id()),
        "{refused}"
    );
    let us = Process::open(Pid(std::process::id())).unwrap();
    assert!(us.threads().unwrap().contains(&Tid(tid)));
    assert_eq!(us.ns_tid(Tid(tid)).unwrap(), Tid(tid));
    drop(end);
    assert!(thread.join().unwrap().is_err());
}

/// A process of another user is refused when we are not root, with its owner and the remedy.
#[test]
fn not_ours() {
    if !is_root() {
        // Pid 1 is root's, and so not ours.
        let refused = refusal(Pid(1));
        assert!(matches!(refused, Refusal::NotOurs { .. }), "{refused}");
        return;
    }
    // As root the question is asked by a child that has become nobody.
    let ours = Process::open(Pid(std::process::id())).unwrap();
    let mut asking = Command::new("sleep");
    asking.arg("600");
    let owner = ours.pid;
    // SAFETY: the child has one thread. What is called here allocates, which is safe after a fork with glibc.
    unsafe {
        asking.pre_exec(move || {
            if libc::setgid(65534) != 0 || libc::setuid(65534) != 0 {
                return Err(io::Error::last_os_error());
            }
            let refused = Process::open(owner)
                .err()
                .and_then(|e| e.downcast::<Refusal>().ok());
            match refused {
                Some(Refusal::NotOurs { pid, remedy, .. })
                    if pid == owner && remedy.contains("sudo") =>
                {
                    Err(io::Error::from_raw_os_error(libc::EXFULL))
                }
                _ => Err(io::Error::from_raw_os_error(libc::EBADE)),
            }
        });
    }
    assert_eq!(
        asking.spawn().unwrap_err().raw_os_error(),
        Some(libc::EXFULL),
        "not refused as another user's"
    );
}

/// A process in a pid namespace of its own keeps both of its numbers, and its namespaces are told to be others.
#[test]
fn other_namespaces() {
    // With its stdin closed at the end of the test, `cat` and so the namespace end.
    let spawned = Command::new("unshare")
        .args([
            "--pid",
            "--mount",
            "--fork",
            "sh",
            "-c",
            "echo ready; exec cat",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut unshare = match spawned {
        Ok(child) => Spawned(child),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            eprintln!("skipped: there is no unshare");
            return;
        }
    };
    let mut ready = String::new();
    BufReader::new(unshare.0.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    if ready != "ready\n" {
        assert!(!is_root(), "root can make namespaces");
        eprintln!("skipped: making namespaces takes root");
        return;
    }
    let parent = Process::open(unshare.pid()).unwrap();
    let children = parent
        .read(format!("task/{}/children", parent.pid), 64)
        .unwrap();
    let inner = Process::open(children.trim().parse().unwrap()).unwrap();
    assert_eq!(inner.namespaces.other_pid, Some(true));
    assert_eq!(inner.namespaces.other_mount, Some(true));
    assert_eq!(inner.namespaces.innermost_pid(inner.pid), Pid(1));
    assert_eq!(inner.ns_tid(Tid(inner.pid.0)).unwrap(), Tid(1));
    drop(unshare.0.stdin.take());
    unshare.0.wait().unwrap();
}

/// A 32-bit program is refused by its ELF class. The file is a hand-made ELF32 that only sleeps.
#[test]
fn thirty_two_bit() {
    let folder = tempfile::tempdir().unwrap();
    let exe = folder.path().join("sleeper32");
    fs::write(&exe, elf32_that_pauses()).unwrap();
    fs::set_permissions(&exe, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let child = match Command::new(&exe).spawn() {
        Ok(child) => Spawned(child),
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{error}");
            eprintln!("skipped: this kernel runs no 32-bit programs");
            return;
        }
    };
    // `spawn` returns after the exec, so that the child is the program already.
    let refused = refusal(child.pid());
    assert!(
        matches!(&refused, Refusal::ThirtyTwoBit { exe: found, .. } if exe == Path::new(found)),
        "{refused}"
    );
}

/// An ELF32 executable for x86: one header, one segment, `pause()` in a loop.
fn elf32_that_pauses() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    // mov eax, 29 (pause); int 0x80; jmp back.
    let code = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let size = 52 + 32 + code.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2u16, 3].map(u16::to_le_bytes).concat());
    file.extend([1, BASE + 84, 52, 0, 0].map(u32::to_le_bytes).concat());
    file.extend([52u16, 32, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend(
        [1, 0, BASE, BASE, size, size, 5, 0x1000]
            .map(u32::to_le_bytes)
            .concat(),
    );
    file.extend(code);
    file
}

/// The id inside the namespace is the last of the list, and nonsense is no id.
#[test]
fn innermost_ids() {
    assert_eq!(innermost_id("Name:\tx\nNSpid:\t4242\t17\t1\n"), Some(1));
    assert_eq!(innermost_id("NSpid:\t4242\n"), Some(4242));
    assert_eq!(innermost_id("NSpid:\n"), None);
    assert_eq!(innermost_id("Pid:\t1\n"), None);
}
