use std::process::ExitCode;

use offheap::{cli, exit, run};

fn main() -> ExitCode {
    exit::report(cli::parse(std::env::args_os()).and_then(run::run))
}
