//! Empty programs at the very places where offheap puts its own: what the traps alone cost.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use offheap::functions::Function;
use offheap::functions::resolve::resolve;
use offheap::probes::{Capacities, Point, Probes, Setup, Work};
use offheap::target::modules::ModuleTable;
use tracer_common::config::{Config, MAX_POINTS};

/// Attaches to everything that offheap attaches to by default, until it is dropped.
pub fn attach(pid: u32) -> Result<Probes> {
    let capacities = Capacities {
        ring_bytes: 1 << 16,
        blocks: 16,
        streams: 16,
        threads: 16,
        points: MAX_POINTS,
    };
    let setup = Setup {
        sample_interval: 0,
        capacities,
        verbosity: 0,
        links: None,
        work: Work::Nothing,
    };
    let mut probes = Probes::load(pid, Config::default(), setup)?;
    let mut modules = ModuleTable::default();
    modules
        .refresh(pid)
        .context("cannot read the target's mappings")?;
    hook(&mut probes, &modules, |_| true)?;
    Ok(probes)
}

/// Attaches to the functions of all modules that are `wanted`.
pub fn hook(
    probes: &mut Probes,
    modules: &ModuleTable,
    wanted: impl Fn(&Function) -> bool,
) -> Result<()> {
    for module in &modules.modules {
        let found = resolve(&module.file).into_iter();
        let points = found
            .filter(|found| wanted(&found.function))
            .map(|found| Point::new(module.id, found))
            .collect();
        let path = format!("/proc/self/fd/{}", module.file.as_raw_fd());
        probes.attach(points, &PathBuf::from(path));
    }
    let live = probes
        .points
        .iter()
        .filter(|point| point.error.is_none())
        .count();
    ensure!(live > 0, "no probe could be attached");
    Ok(())
}
