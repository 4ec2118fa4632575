//! bpftrace in the shape of bcc's memleak: entry and return of malloc, entry of free at its first instruction.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use offheap_tests::lines::Lines;
use offheap_tests::{DEADLINE, process, session};

/// A running bpftrace; ended when dropped.
pub struct Peer(Child);

pub fn program() -> Option<PathBuf> {
    session::program("bpftrace")
}

impl Peer {
    /// Attaches to the libc of `pid`.
    pub fn attach(pid: u32) -> Result<Peer> {
        let libc = libc_of(pid)?;
        let script = format!(
            "BEGIN {{ printf(\"ready\\n\"); }} \
             uprobe:{libc}:malloc /pid == {pid}/ {{ @size[tid] = arg0; }} \
             uretprobe:{libc}:malloc /@size[tid]/ {{ @live[retval] = @size[tid]; @stack[retval] = ustack; delete(@size[tid]); }} \
             uprobe:{libc}:free /pid == {pid}/ {{ delete(@live[arg0]); delete(@stack[arg0]); }} \
             END {{ clear(@live); clear(@stack); clear(@size); }}"
        );
        let mut command = Command::new(program().context("no bpftrace")?);
        command.args(["-p", &pid.to_string(), "-e", &script]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start bpftrace")?;
        let stdout = Lines::of(child.stdout.take().context("bpftrace has no stdout")?);
        let stderr = Lines::of(child.stderr.take().context("bpftrace has no stderr")?);
        let peer = Peer(child);
        if stdout.wait(0, DEADLINE, |line| line == "ready").is_err() {
            bail!("bpftrace did not begin: {:?}", stderr.all());
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Asked to end, it takes its probes out itself.
        process::signal(&self.0, libc::SIGINT);
        let _ = process::wait(&mut self.0, DEADLINE);
        process::end(&mut self.0);
    }
}

fn libc_of(pid: u32) -> Result<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))
        .context("cannot read the target's mappings")?;
    let line = maps.lines().find(|line| line.contains("/libc.so"));
    let path = line.and_then(|line| line.split_whitespace().last());
    Ok(path.context("the target has no libc.so")?.to_owned())
}
