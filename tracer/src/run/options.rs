//! What the user wants to see, as the reports take it, and onto stdout.

use anyhow::Result;

use crate::capture::Capture;
use crate::report::{self, Filter, Format, Options, Sort};
use crate::settings::{Console, View};
use crate::{cli, exit};

pub fn options(view: &View) -> Options {
    Options {
        filter: Filter {
            older_seconds: view.older.map(|age| age.as_secs_f64()),
            include: view.include.clone(),
            exclude: view.exclude.clone(),
            min_count: 0,
        },
        top: view.top,
        sort: match view.sort {
            cli::Sort::Bytes => Sort::Bytes,
            cli::Sort::Count => Sort::Count,
            cli::Sort::Growth => Sort::Growth,
            cli::Sort::Age => Sort::Age,
        },
        color: Console::here().colour,
    }
}

/// Renders the capture on stdout.
pub fn print(capture: &Capture, format: Format, options: &Options) -> Result<()> {
    let mut bytes = Vec::new();
    report::render(capture, format, options, &mut bytes)?;
    exit::write(&bytes)
}
