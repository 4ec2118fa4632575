//! The straight line of each command.

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::settings::{Settings, View};
use crate::{doctor, list};

/// Does what was asked.
///
/// # Errors
/// With the causes in the chain; [`exit::code`](crate::exit::code) tells the exit code.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Attach(args) => trace(Settings::attach(&args, cli.verbose)?),
        Command::Capture(args) => trace(Settings::capture(&args, cli.verbose)?),
        Command::Watch(args) => trace(Settings::watch(&args, cli.verbose)?),
        Command::Report(args) => render(&args, &View::new(&args.view)?),
        Command::List => list::run(),
        Command::Doctor(args) => doctor::run(args.target.given()),
    }
}

/// The traced commands are wired here.
fn trace(settings: Settings) -> anyhow::Result<Exit> {
    let target = doctor::preflight(settings.pid)?;
    anyhow::bail!("tracing process {} is not built yet", target.pid)
}

/// The renderers of `report` are wired here.
fn render(args: &crate::cli::Report, _view: &View) -> anyhow::Result<Exit> {
    let file = if args.capture.is_dir() {
        args.capture.join("capture.json")
    } else {
        args.capture.clone()
    };
    anyhow::bail!("rendering {} is not built yet", file.display())
}
