//! Services that are busy and leave nothing behind: they must not be said to grow.

use offheap::triage::verdict::Cause;
use tempfile::TempDir;

use super::{Played, Scenario, Stage, rows, store};
use crate::Target;
use crate::cgroup::Group;
use crate::scenarios::{Missing, stage::command};
use crate::triage::causes;

const STEPS: usize = 4;

pub const HEALTHY: Scenario = Scenario {
    name: "healthy",
    shows: "garbage, compression and blocks that are freed: no growth seen",
    rows: rows::releases,
    play: |stage, row| {
        let target = stage.java(row, "Incidents", &["healthy"])?;
        no_growth(stage, target)
    },
};

pub const WARM: Scenario = Scenario {
    name: "healthy-warm",
    shows: "a full cache that changes, threads, buffers, selectors and files that come and go: no growth seen",
    rows: rows::releases,
    play: |stage, row| {
        let target = stage.java(row, "Incidents", &["warm"])?;
        no_growth(stage, target)
    },
};

pub const GZIP: Scenario = Scenario {
    name: "healthy-gzip",
    shows: "the gzip server that ends its Deflaters: no growth seen",
    rows: || rows::with(&["-XX:+UseG1GC", "-Xms48m", "-Xmx48m", "-XX:+AlwaysPreTouch"]),
    play: |stage, row| {
        let target = stage.java(row, "GzipServer", &["healthy"])?;
        no_growth(stage, target)
    },
};

pub const STORE: Scenario = Scenario {
    name: "healthy-store",
    shows: "the RocksDB service that closes its iterators: no growth seen",
    rows: rows::usual,
    play: |stage, row| {
        let folder = TempDir::new().expect("a temporary directory");
        let mut target = store::service(stage, row, "healthy", &folder.path().join("store"))?;
        let (report, _) = stage.looks(&mut target, STEPS);
        // It has filled the store before, and malloc may keep what that took.
        let mut found = causes(&report);
        found.retain(|cause| *cause != Cause::RetainedByMalloc);
        stage.equal("the verdict", found, vec![Cause::NoGrowth]);
        Ok(())
    },
};

pub const CACHE: Scenario = Scenario {
    name: "healthy-cgroup",
    shows: "a busy JVM in a cgroup with room to spare: no growth seen, and no word of the limit",
    rows: rows::usual,
    play: |stage, row| {
        let group =
            Group::new(2 << 30).ok_or_else(|| Missing("a memory cgroup of our own".to_owned()))?;
        let java = command(row, "Incidents", &["warm"])?;
        let target = stage.start(&mut group.command(&java));
        no_growth(stage, target)
    },
};

fn no_growth(stage: &mut Stage, mut target: Target) -> Played {
    let (report, _) = stage.looks(&mut target, STEPS);
    stage.verdict(&report, &[Cause::NoGrowth]);
    Ok(())
}
