//! What the numbers were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Prints machine, kernel and load.
pub fn print() {
    let release = first_line(&read("/proc/sys/kernel/osrelease"));
    let cpus = cpus();
    println!("kernel {release}, {cpus} CPUs ({})", cpu());
    println!("{}", of(&["ldd", "--version"]));
    println!("{}", of(&["java", "-version"]));
    println!("load before: {}", load());
}

/// 1, 5 and 15 minute averages.
pub fn load() -> String {
    read("/proc/loadavg")
        .split(' ')
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The CPU that a timed loop stays on.
pub fn last_cpu() -> usize {
    cpus() - 1
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let hypervisor = if info.contains(" hypervisor") {
        ", virtual"
    } else {
        ""
    };
    format!("{}{hypervisor}", name.map_or("unknown", |(_, name)| name))
}

/// The first line that a program prints, wherever it prints it.
fn of(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let Ok(output) = output else {
        return format!("no {}", command[0]);
    };
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    first_line(&String::from_utf8_lossy(&text))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// CPU time of a process's live threads, from the scheduler's own accounts: precise to the nanosecond.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("offheap has ended")?;
    let mut ns = 0.0;
    for task in tasks.flatten() {
        let text = read(task.path().join("schedstat"));
        ns += text
            .split(' ')
            .next()
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0);
    }
    Ok(ns / 1e9)
}

/// CPU seconds of a process in user mode and in the kernel, of all its threads, to the clock tick (proc_pid_stat(5)).
pub fn usage(pid: u32) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("a process has ended")?;
    // The name, in parentheses, may hold spaces.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    // SAFETY: takes a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let mut next = || -> Result<f64> { Ok(times.next().context("a field is missing")?? / ticks) };
    Ok((next()?, next()?))
}
