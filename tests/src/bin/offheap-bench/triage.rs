//! How long one look takes at a process with ten thousand mappings.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use offheap_tests::{CFlags, Target, c_program, tool};

use crate::stats::{Goal, Series};
use crate::table::Table;

/// Milliseconds.
const GOAL: f64 = 1000.0;

pub fn run(rounds: usize) -> Result<()> {
    let target = Target::start(&mut Command::new(c_program("mappings", CFlags::default())));
    let binary = tool::binary().context("no offheap")?;
    let mut series = Series::default();
    for _ in 0..rounds {
        let begin = Instant::now();
        let output = Command::new(&binary)
            .args(["triage", &target.pid().to_string()])
            .output()?;
        series.push(begin.elapsed().as_secs_f64() * 1000.0);
        ensure!(output.status.success(), "offheap triage failed");
    }
    let mut table = Table::new(["triage", "exec to exit, ms", "goal"]);
    let summary = series.summary();
    let goal = format!("< {GOAL}: {}", Goal(summary.high < GOAL));
    table.row([
        "10,000 mappings".to_owned(),
        format!(
            "{:.0} ({:.0} to {:.0})",
            summary.median, summary.low, summary.high
        ),
        goal,
    ]);
    table.print("One look of triage");
    Ok(())
}
