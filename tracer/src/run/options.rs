//! What the user wants to see, as the reports take it.

use crate::cli;
use crate::report::{Filter, Options, Sort};
use crate::settings::{Console, View};

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
