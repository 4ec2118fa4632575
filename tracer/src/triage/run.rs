//! The straight line of the command.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::read::Looker;
use super::reading::Summary;
use super::report::{Asked, Report, SCHEMA, Target};
use super::verdict::verdict;
use super::{ask, growth};
use crate::cli;
use crate::exit::{self, Exit, Refusal, TargetEnded};
use crate::run::signals::{Request, Signals};
use crate::target::process::Process;
use crate::target::{Pid, text};

/// Looks between the first and the last, so that a slope is told from a step.
const PARTS: u32 = 4;
/// But not more often than this.
const SHORTEST: Duration = Duration::from_secs(1);

/// Looks at the process once, or for a while, and prints what it found.
///
/// # Errors
/// The process is not there, may not be read, or ends before the first look; stdout fails.
pub fn run(args: &cli::Triage) -> anyhow::Result<Exit> {
    let pid = args
        .target
        .given()
        .ok_or_else(|| exit::Usage("no process given: offheap triage <PID>".to_owned()))?;
    let process = Process::open(pid)?;
    let mut looker = Looker::new(&process);
    let mut looks = vec![look(&mut looker, pid)?];
    if let Some(duration) = args.duration {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop")?;
        runtime.block_on(more(&process, &mut looker, duration, &mut looks))?;
    }
    // Last: what is read before is as it was.
    let asked = match args.ask_jvm {
        true => ask_jvm(&process, &looks),
        false => Asked::default(),
    };
    let report = report(&process, looks, asked);
    match args.format {
        cli::TriageFormat::Text => exit::print(&report)?,
        cli::TriageFormat::Json => exit::print(&report.json()?)?,
    }
    Ok(Exit::Done)
}

fn look(looker: &mut Looker<'_>, pid: Pid) -> anyhow::Result<Summary> {
    match looker.look() {
        Ok(reading) => Ok(Summary::of(&reading)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => {
            Err(TargetEnded {
                pid,
                how: "ended before it could be read",
            }
            .into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Refusal::Unsupported {
                what: format!("process {pid} may not be read ({error})"),
                remedy: "run offheap as root or as the user of the process".to_owned(),
            }
            .into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read /proc/{pid}")),
    }
}

/// Looks again until the time is over, a signal asks for the end, or the process ends. SIGUSR1 asks for a look now.
async fn more(
    process: &Process,
    looker: &mut Looker<'_>,
    duration: Duration,
    looks: &mut Vec<Summary>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let end = Instant::now() + duration;
    let every = (duration / PARTS).max(SHORTEST).min(duration);
    loop {
        exit::say(&format!("look {}", looks.len()));
        let now = Instant::now();
        let wait = every.min(end.saturating_duration_since(now));
        let is_last = tokio::select! {
            () = tokio::time::sleep(wait) => end.saturating_duration_since(Instant::now()) < SHORTEST.min(every) / 2,
            request = signals.next() => request == Request::Finish,
            ended = process.wait_for_end() => {
                ended.context("cannot wait for the process")?;
                exit::hint("the process has ended: this is what was seen before");
                return Ok(());
            }
        };
        match look(looker, process.pid) {
            Ok(summary) => looks.push(summary),
            Err(error) if error.is::<TargetEnded>() => {
                exit::hint("the process has ended: this is what was seen before");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Only a JVM is asked: to another program the signal means something else.
fn ask_jvm(process: &Process, looks: &[Summary]) -> Asked {
    let jvm = looks.last().and_then(|look| look.facts.jvm.as_ref());
    if jvm.is_some_and(|jvm| jvm.unsupported.is_none()) {
        return ask::ask(process);
    }
    Asked {
        asked: false,
        failed: Some("it is no JVM that is known, and was not asked".to_owned()),
        ..Asked::default()
    }
}

fn report(process: &Process, looks: Vec<Summary>, asked: Asked) -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: Target {
            pid: process.pid.0,
            comm: process.comm.clone(),
            cmdline: process
                .cmdline
                .iter()
                .map(|word| text::printable(word.as_bytes()))
                .take(64)
                .collect(),
            container: process
                .container
                .as_ref()
                .map(|container| format!("{}:{}", container.runtime, container.id)),
        },
        verdict: verdict(process.pid.0, &looks),
        growth: growth::changes(&looks),
        looks,
        asked,
    }
}
