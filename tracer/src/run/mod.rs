//! The straight line of each command.

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::settings::{Settings, View};

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
        Command::List => Ok(Exit::Done),
        Command::Doctor(_) => Ok(Exit::Done),
    }
}

/// The traced commands are wired here.
fn trace(settings: Settings) -> anyhow::Result<Exit> {
    anyhow::bail!("tracing process {} is not built yet", settings.pid)
}

/// The renderers of `report` are wired here.
fn render(args: &crate::cli::Report, _view: &View) -> anyhow::Result<Exit> {
    anyhow::bail!("rendering {} is not built yet", args.capture.display())
}
