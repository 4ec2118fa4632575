//! A memory cgroup that is near its limit by page cache.

use offheap::triage::growth::resident;
use offheap::triage::owners::Kind;
use offheap::triage::verdict::Cause;
use tempfile::TempDir;

use super::stage::command;
use super::{Missing, Played, Row, Scenario, Stage, rows};
use crate::cgroup::Group;
use crate::sources;
use crate::triage::last;

const LIMIT: u64 = 448 << 20;

pub const PAGE_CACHE: Scenario = Scenario {
    name: "page-cache",
    shows: "a cgroup near its limit by page cache, the heap healthy: not the JVM's memory",
    rows: rows::usual,
    play: page_cache,
};

fn page_cache(stage: &mut Stage, row: &Row) -> Played {
    let group =
        Group::new(LIMIT).ok_or_else(|| Missing("a memory cgroup of our own".to_owned()))?;
    // Not in /tmp, which may be memory itself.
    let folder = TempDir::new_in(sources::directory()).expect("a folder for the file");
    let file = folder.path().join("file");
    let java = command(row, "Incidents", &["cache".as_ref(), file.as_os_str()])?;
    let mut target = stage.start(&mut group.command(&java));
    target.work();
    let report = stage.look(&target);
    stage.verdict(&report, &[Cause::PageCache]);
    let look = last(&report);
    let found = look.facts.cgroup.clone().unwrap_or_default();
    stage.equal("the cgroup's limit", found.limit, Some(LIMIT));
    let cache = group.cache().unwrap_or(0);
    stage.within(
        "page cache of the cgroup",
        found.file.unwrap_or(0),
        cache * 9 / 10..=cache * 11 / 10,
    );
    // The file is larger than what is left of the limit.
    stage.holds(
        found.limit_hits > Some(0),
        format!("the limit was hit: {:?} times", found.limit_hits),
    );
    stage.within(
        "the cgroup's anonymous memory, of this JVM alone",
        found.anonymous.unwrap_or(0),
        resident(look, Kind::JavaHeap)..=look.rss,
    );
    Ok(())
}
