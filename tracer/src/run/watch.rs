//! `offheap watch`: a bundle every period, until stopped or the target ends.

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::time::Instant;

use super::options::{options, print};
use super::session::{Session, Wake};
use crate::bundle::{Owner, Series};
use crate::capture::Capture;
use crate::exit::{self, Exit};
use crate::fleet::Export;
use crate::fleet::export::Taken;
use crate::fleet::push::Push;
use crate::report::{Format, Options};
use crate::settings::{self, Settings};

/// What to do, with all that could be tried out before the attach.
pub struct Plan {
    pub every: Duration,
    pub keep: u32,
    pub dir: PathBuf,
    /// Where metrics are asked for.
    pub listener: Option<TcpListener>,
    pub push: Option<settings::Push>,
}

pub async fn run(mut session: Session, settings: &Settings, plan: Plan) -> Result<Exit> {
    let options = options(&settings.view);
    let keep = NonZeroUsize::new(plan.keep as usize).unwrap_or(NonZeroUsize::MIN);
    let owner = Owner::of_invoker();
    let series = Series::open(&plan.dir, settings.pid.0, keep, owner)?;
    let mut export = export(plan.listener, plan.push, &plan.dir, owner, options.top)?;
    watch(&mut session, plan.every, &series, &options, &mut export).await?;
    let taking = Taking::begin(&session);
    let capture = session.finish()?;
    let printed = print(&capture, Format::Text, &options);
    let written = write(&series, taking.end(&capture), &options, &mut export);
    export.finish();
    written?;
    printed?;
    Ok(Exit::Done)
}

/// Until it is stopped or the target ends.
async fn watch(
    session: &mut Session,
    every: Duration,
    series: &Series,
    options: &Options,
    export: &mut Export,
) -> Result<()> {
    let mut due = Instant::now() + every;
    loop {
        let wake = tokio::select! {
            biased;
            wake = session.next(Some(due)) => wake?,
            () = export.asked() => {
                let taking = Taking::begin(session);
                let capture = session.trace.look()?;
                export.show(taking.end(&capture));
                continue;
            }
        };
        match wake {
            Wake::Due | Wake::Snapshot => {
                let taking = Taking::begin(session);
                let capture = session.capture()?;
                let taken = taking.end(&capture);
                // A bundle that can't be written now is no reason to stop watching.
                if let Err(error) = write(series, taken, options, export) {
                    exit::hint(&format!("{error:#}; watching goes on"));
                }
            }
            Wake::Finish | Wake::TargetEnded => return Ok(()),
        }
        while due <= Instant::now() {
            due += every;
        }
    }
}

fn export(
    listener: Option<TcpListener>,
    push: Option<settings::Push>,
    dir: &Path,
    owner: Option<Owner>,
    sites: usize,
) -> Result<Export> {
    let mut export = Export::default();
    if let Some(listener) = listener {
        export.listen(listener, sites)?;
    }
    if let Some(settings) = push {
        export.push(Push::start(&settings, dir, owner)?);
    }
    Ok(export)
}

/// What is known before a capture is taken.
struct Taking {
    begin: Instant,
    sample_bytes: u64,
}

impl Taking {
    fn begin(session: &Session) -> Taking {
        Taking {
            begin: Instant::now(),
            sample_bytes: session.trace.sample_bytes(),
        }
    }

    fn end(self, capture: &Capture) -> Taken<'_> {
        Taken {
            capture,
            took: self.begin.elapsed(),
            sample_bytes: self.sample_bytes,
        }
    }
}

/// Writes the bundle, and exports what it was made of, whether it could be written or not.
fn write(series: &Series, taken: Taken<'_>, options: &Options, export: &mut Export) -> Result<()> {
    let written = series.write(taken.capture, options, Timestamp::now());
    export.bundle(&written);
    export.period(taken, &options.filter);
    let written = written?;
    exit::hint(&format!("written: {}", written.path.display()));
    for left in written.left {
        exit::hint(&left);
    }
    Ok(())
}
