//! `offheap-scenario`: plays an incident and shows what the tool says. `cargo xtask scenario` builds and runs it.

use std::io;
use std::process::ExitCode;

use offheap_tests::scenarios::{ALL, Missing, Scenario, Stage, named};
use offheap_tests::session;

/// This machine can't play it.
const REFUSED: u8 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (name, everywhere) = match words[..] {
        ["--list"] => {
            list();
            return ExitCode::SUCCESS;
        }
        [name] => (name, false),
        ["--all-rows", name] => (name, true),
        _ => {
            eprintln!("error: offheap-scenario --list, or [--all-rows] NAME");
            return ExitCode::from(2);
        }
    };
    let Some(scenario) = named(name) else {
        eprintln!("error: no scenario is called {name}; --list names those that there are");
        return ExitCode::from(2);
    };
    match run(scenario, everywhere) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Missing(what)) => {
            eprintln!("error: {name} can't be played here: {what} is missing");
            ExitCode::from(REFUSED)
        }
    }
}

fn list() {
    for scenario in &ALL {
        println!("{:<15} {}", scenario.name, scenario.shows);
    }
}

/// Plays one row, or all of them; whether everything held.
fn run(scenario: &Scenario, everywhere: bool) -> Result<bool, Missing> {
    if let Some(missing) = session::missing_privilege() {
        return Err(Missing(missing));
    }
    let _session = session::session();
    let mut rows = (scenario.rows)();
    if rows.is_empty() {
        return Err(Missing("a JDK".to_owned()));
    }
    rows.truncate(if everywhere { usize::MAX } else { 1 });
    let mut holds = true;
    for row in rows {
        println!("== {}: {}\n   {row}\n", scenario.name, scenario.shows);
        let mut stage = Stage::new(Box::new(io::stdout()));
        (scenario.play)(&mut stage, &row)?;
        stage.conclude();
        holds &= stage.wrong().is_empty();
        println!();
    }
    Ok(holds)
}
