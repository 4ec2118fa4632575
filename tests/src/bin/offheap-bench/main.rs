//! `offheap-bench`: what tracing costs, each figure as a ratio within one run. `cargo xtask bench` builds and runs it.
//!
//! Nothing here passes or fails: a shared machine's speed is no fact to assert. The goals stand beside the numbers.

mod attach;
mod exact;
mod floor;
mod gzip;
mod machine;
mod pairs;
mod peer;
mod reports;
mod scale;
mod stacks;
mod stats;
mod table;
mod tracer;
mod triage;
mod unwind;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use offheap_tests::session;

/// A benchmark, its name on the command line, and how many rounds it takes where none are asked for.
struct Bench {
    name: &'static str,
    rounds: usize,
    run: fn(usize) -> Result<()>,
}

const ALL: [Bench; 10] = [
    Bench {
        name: "pairs",
        rounds: 9,
        run: pairs::run,
    },
    Bench {
        name: "stacks",
        rounds: 9,
        run: stacks::run,
    },
    Bench {
        name: "gzip",
        rounds: 40,
        run: gzip::run,
    },
    Bench {
        name: "tracer",
        rounds: 3,
        run: tracer::run,
    },
    Bench {
        name: "exact",
        rounds: 3,
        run: exact::run,
    },
    Bench {
        name: "scale",
        rounds: 1,
        run: scale::run,
    },
    Bench {
        name: "unwind",
        rounds: 25,
        run: unwind::run,
    },
    Bench {
        name: "attach",
        rounds: 15,
        run: attach::run,
    },
    Bench {
        name: "reports",
        rounds: 5,
        run: reports::run,
    },
    Bench {
        name: "triage",
        rounds: 15,
        run: triage::run,
    },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (chosen, rounds) = arguments(std::env::args().skip(1))?;
    if let Some(missing) = session::missing_privilege() {
        bail!("the benchmarks need {missing}: run `cargo xtask bench`");
    }
    let _session = session::session().context("another run holds the lock")?;
    machine::print();
    for bench in chosen {
        (bench.run)(rounds.unwrap_or(bench.rounds))
            .with_context(|| format!("benchmark {}", bench.name))?;
    }
    println!("\nload after: {}", machine::load());
    Ok(())
}

/// `[--rounds N] [NAME…]`; no name is all of them.
fn arguments(
    mut words: impl Iterator<Item = String>,
) -> Result<(Vec<&'static Bench>, Option<usize>)> {
    let (mut chosen, mut rounds) = (Vec::new(), None);
    while let Some(word) = words.next() {
        if word == "--rounds" {
            let count: usize = words
                .next()
                .unwrap_or_default()
                .parse()
                .context("--rounds")?;
            rounds = Some(count.max(1));
            continue;
        }
        let names = || {
            ALL.iter()
                .map(|bench| bench.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let found = ALL.iter().find(|bench| bench.name == word);
        chosen
            .push(found.with_context(|| {
                format!("no benchmark is called {word}; there are {}", names())
            })?);
    }
    if chosen.is_empty() {
        chosen.extend(&ALL);
    }
    Ok((chosen, rounds))
}
