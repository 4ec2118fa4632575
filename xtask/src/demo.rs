//! `cargo xtask demo`: a JVM that leaks, watched by offheap.
//!
//! The JVM ends when its input does, so that it is gone whatever happens to this program; Ctrl-C during the capture
//! reaches offheap alone, which then writes what it has.

mod server;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use self::server::Server;
use crate::{
    build::{self, Profile},
    host, process,
    setup::{self, Scope},
    workspace,
};

/// How long the JVM is watched.
const WINDOW: &str = "10s";

pub fn run() -> Result<()> {
    setup::ensure(Scope::Demo)?;
    let offheap = build::offheap(Profile::Release, None)?;
    let folder = workspace::target().join("demo");
    let bundle = folder.join("capture");
    remove(&bundle)?;

    let mut server = Server::start(&folder)?;
    eprintln!("a JVM with a leak runs as pid {}", server.pid());
    let before = server.forgotten()?;
    capture(&offheap, server.pid(), &bundle)?;
    let after = server.forgotten()?;
    server.stop()?;
    summarize(&bundle, after.saturating_sub(before))
}

fn remove(bundle: &Path) -> Result<()> {
    match fs::remove_dir_all(bundle) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| {
                format!(
                    "cannot remove the bundle of the last demo, {}",
                    bundle.display()
                )
            })
        }
        _ => Ok(()),
    }
}

/// Runs offheap with the terminal as its own: the report on stdout, progress on stderr.
fn capture(offheap: &Path, pid: u32, bundle: &Path) -> Result<()> {
    let mut command = host::as_root(offheap, &[])?;
    command
        .args(["capture", &pid.to_string(), "-d", WINDOW, "-o"])
        .arg(bundle);
    let _outlive = server::OutliveInterrupt::begin();
    process::run(&mut command)
}

/// What the reader should take away, after the long report.
fn summarize(bundle: &Path, forgotten: u64) -> Result<()> {
    let report = bundle.join("report.txt");
    let text =
        fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
    let verdict = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("the report is empty");
    let graph = bundle.join("flame.svg");
    if !graph.is_file() {
        bail!("offheap wrote no {}", graph.display());
    }
    println!();
    println!("verdict:     {verdict}");
    println!("the server:  forgot {forgotten} Deflaters between offheap's start and its end");
    println!("flame graph: {}", graph.display());
    Ok(())
}
