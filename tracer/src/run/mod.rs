//! The straight line of each command.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::bundle;
use crate::cli::{Cli, Command, paper};
use crate::exit::{self, Exit};
use crate::fleet::export;
use crate::live::Screen;
use crate::settings::{Mode, OutputPattern, Settings, View};
use crate::threshold::Level;
use crate::trace::Trace;
use crate::{doctor, list, triage};

mod attach;
mod capture;
mod compare;
mod limits;
mod live;
mod log;
mod options;
pub(crate) mod priority;
mod render;
mod session;
pub(crate) mod signals;
mod watch;

use session::Session;
use signals::Signals;

/// Does what was asked.
///
/// # Errors
/// With the causes in the chain; [`exit::code`] tells the exit code.
pub fn run(cli: Cli) -> Result<Exit> {
    let begin = Instant::now();
    log::start(cli.verbose);
    match cli.command {
        Command::Attach(args) => trace(Settings::attach(&args, cli.verbose)?, begin),
        Command::Capture(args) => trace(Settings::capture(&args, cli.verbose)?, begin),
        Command::Watch(args) => trace(Settings::watch(&args, cli.verbose)?, begin),
        Command::Report(args) => render::run(&args, &View::new(&args.view)?),
        Command::Triage(args) => triage::run(&args),
        Command::Diff(args) => compare::run(&args),
        Command::List => list::run(),
        Command::Doctor(args) => doctor::run(args.target.given()),
        Command::Completions(args) => show(&paper::completions(args.shell)),
        Command::Man(args) => match args.folder {
            Some(folder) => man_pages(&folder),
            None => show(&paper::man()?),
        },
    }
}

/// Everything happens on one thread, but for the calibration and for links that are closed.
fn trace(settings: Settings, begin: Instant) -> Result<Exit> {
    limits::prepare();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(attach_and_work(&settings, begin))
}

/// Preflight, attach, work; the work ends with the detach.
async fn attach_and_work(settings: &Settings, begin: Instant) -> Result<Exit> {
    let signals = Signals::listen()?;
    let plan = Plan::prepare(settings)?;
    let target = doctor::preflight(settings.pid)?;
    let mut trace = Trace::attach(target, settings, begin)?;
    trace.news().iter().for_each(|line| exit::say(line));
    exit::say(&trace.live_line());
    let levels = settings.mode.snapshot_at();
    let wants_limit = levels
        .iter()
        .any(|level| matches!(level, Level::Percent(_)));
    if wants_limit && trace.usage().cgroup.is_none() {
        exit::hint(
            "--snapshot-at: no limit of the target's cgroup can be read: percentages wait for one",
        );
    }
    let session = Session::new(trace, signals, levels)?;
    match plan {
        Plan::Attach {
            interval,
            end,
            plain,
        } if plain || !Screen::is_possible() => {
            attach::run(session, &settings.view, interval, end).await
        }
        Plan::Attach { interval, end, .. } => {
            live::run(session, &settings.view, interval, end).await
        }
        Plan::Capture { duration, dir } => {
            capture::run(session, &settings.view, duration, &dir).await
        }
        Plan::Watch(plan) => watch::run(session, settings, plan).await,
    }
}

/// What to do once the probes are live.
enum Plan {
    Attach {
        interval: Duration,
        end: Option<Duration>,
        plain: bool,
    },
    Capture {
        duration: Duration,
        dir: PathBuf,
    },
    Watch(watch::Plan),
}

impl Plan {
    /// Tries out where bundles go before anything is attached.
    fn prepare(settings: &Settings) -> Result<Plan> {
        Ok(match &settings.mode {
            Mode::Attach {
                interval,
                duration,
                plain,
                ..
            } => Plan::Attach {
                interval: *interval,
                end: *duration,
                plain: *plain,
            },
            Mode::Capture { duration, output } => Plan::Capture {
                duration: *duration,
                dir: writable(settings, output)?,
            },
            Mode::Watch {
                every,
                keep,
                output,
                export,
                ..
            } => Plan::Watch(watch::Plan {
                every: *every,
                keep: *keep,
                dir: writable(settings, output)?,
                listener: export::bind(export)?,
                push: export.push.clone(),
            }),
        })
    }
}

fn show(bytes: &[u8]) -> Result<Exit> {
    exit::write(bytes)?;
    Ok(Exit::Done)
}

fn man_pages(folder: &Path) -> Result<Exit> {
    paper::write_man(folder).with_context(|| {
        format!(
            "cannot write manual pages to {}: name a folder that is there",
            folder.display()
        )
    })?;
    Ok(Exit::Done)
}

fn writable(settings: &Settings, output: &OutputPattern) -> Result<PathBuf> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let dir = output.expand(settings.pid, &time);
    bundle::check_writable(&dir)?;
    Ok(dir)
}
