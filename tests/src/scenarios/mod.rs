//! Incidents, each as a real process that behaves as the incident did, and what the tool has to say about it.
//!
//! One definition serves `cargo xtask scenario NAME`, which shows what a user would see, and the tests, which run it on
//! more JDKs. Numbers are compared with what the target, the kernel or the library says, never with what was seen before.

mod cache;
mod counts;
mod gzip;
mod healthy;
mod heap;
mod retention;
mod rows;
mod stage;
mod store;

use std::io;

pub use rows::Row;
pub use stage::Stage;

use crate::session::{session, skip};

/// What this machine lacks, so that a scenario can't be played.
#[derive(Debug)]
pub struct Missing(pub String);

pub type Played = Result<(), Missing>;

/// An incident, or a healthy process.
pub struct Scenario {
    pub name: &'static str,
    /// One line: what happens, and what the tool says.
    pub shows: &'static str,
    /// Where it is played, the usual place first.
    pub rows: fn() -> Vec<Row>,
    pub play: fn(&mut Stage, &Row) -> Played,
}

pub const ALL: [Scenario; 15] = [
    gzip::DEFLATERS,
    store::STORE,
    cache::PAGE_CACHE,
    heap::HEAP_FULL,
    counts::SELECTORS,
    counts::THREADS,
    counts::CLASS_LOADERS,
    counts::DIRECT_BUFFERS,
    retention::RETENTION,
    retention::NATIVE_BLOCKS,
    healthy::HEALTHY,
    healthy::WARM,
    healthy::GZIP,
    healthy::STORE,
    healthy::CACHE,
];

pub fn named(name: &str) -> Option<&'static Scenario> {
    static SCENARIOS: &[Scenario] = &ALL;
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// The test of a scenario: everything that is checked holds, in each row.
///
/// # Panics
/// Something does not hold, or there is no such scenario.
pub fn prove(name: &str) {
    let Some(_session) = session() else { return };
    let scenario = named(name).unwrap_or_else(|| panic!("no scenario is called {name}"));
    let rows = (scenario.rows)();
    if rows.is_empty() {
        return skip("a JDK");
    }
    for row in rows {
        let mut stage = Stage::new(Box::new(io::sink()));
        if let Err(Missing(what)) = (scenario.play)(&mut stage, &row) {
            return skip(&what);
        }
        assert!(stage.checks() > 0, "{name} checks nothing");
        assert!(
            stage.wrong().is_empty(),
            "{name} on {row}: {:#?}\n{}",
            stage.wrong(),
            stage.shown()
        );
    }
}
