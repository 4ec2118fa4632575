//! The straight line of each command.

use std::time::Instant;

use anyhow::Context;

use crate::cli::{Cli, Command};
use crate::exit::{self, Exit};
use crate::settings::{Mode, Settings, View};
use crate::trace::Trace;
use crate::{doctor, list};

mod attach;
mod capture;
mod log;
mod options;
mod render;
mod session;
mod signals;
mod watch;

use session::Session;
use signals::Signals;

/// Does what was asked.
///
/// # Errors
/// With the causes in the chain; [`exit::code`] tells the exit code.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let begin = Instant::now();
    log::start(cli.verbose);
    match cli.command {
        Command::Attach(args) => trace(Settings::attach(&args, cli.verbose)?, begin),
        Command::Capture(args) => trace(Settings::capture(&args, cli.verbose)?, begin),
        Command::Watch(args) => trace(Settings::watch(&args, cli.verbose)?, begin),
        Command::Report(args) => render::run(&args, &View::new(&args.view)?),
        Command::List => list::run(),
        Command::Doctor(args) => doctor::run(args.target.given()),
    }
}

/// Preflight, attach, work, detach. Everything happens on one thread, but for what may take long and can wait.
fn trace(settings: Settings, begin: Instant) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let outcome = runtime.block_on(async {
        let signals = Signals::listen()?;
        let output = prepare_output(&settings)?;
        let target = doctor::preflight(settings.pid)?;
        let trace = Trace::attach(target, &settings, begin)?;
        exit::say(&trace.live_line());
        let session = Session::new(trace, signals)?;
        match (&settings.mode, output) {
            (Mode::Attach { interval, duration }, _) => {
                attach::run(session, &settings.view, *interval, *duration).await
            }
            (Mode::Capture { duration, .. }, Some(dir)) => {
                capture::run(session, &settings.view, *duration, &dir).await
            }
            (Mode::Watch { every, keep, .. }, Some(dir)) => {
                watch::run(session, &settings, *every, *keep, &dir).await
            }
            (Mode::Capture { .. } | Mode::Watch { .. }, None) => {
                unreachable!("these modes have an output")
            }
        }
    });
    // A calibration that is still under way must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

/// The directory for bundles, tried out before anything is attached.
fn prepare_output(settings: &Settings) -> anyhow::Result<Option<std::path::PathBuf>> {
    let (Mode::Capture { output, .. } | Mode::Watch { output, .. }) = &settings.mode else {
        return Ok(None);
    };
    let dir = output.expand(
        settings.pid,
        &jiff::Timestamp::now()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string(),
    );
    crate::bundle::check_writable(&dir)?;
    Ok(Some(dir))
}
