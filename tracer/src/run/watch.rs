//! `offheap watch`: a bundle every period, until stopped or the target ends.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::time::Instant;

use super::options::{options, print};
use super::session::{Session, Wake};
use crate::bundle::{Owner, Series};
use crate::capture::Capture;
use crate::exit::{self, Exit};
use crate::report::{Format, Options};
use crate::settings::Settings;

pub async fn run(
    mut session: Session,
    settings: &Settings,
    every: Duration,
    keep: u32,
    dir: &Path,
) -> Result<Exit> {
    let options = options(&settings.view);
    let keep = NonZeroUsize::new(keep as usize).unwrap_or(NonZeroUsize::MIN);
    let series = Series::open(dir, settings.pid.0, keep, Owner::of_invoker())?;
    let mut due = Instant::now() + every;
    loop {
        match session.next(Some(due)).await? {
            // A bundle that can't be written now is no reason to stop watching.
            Wake::Due | Wake::Snapshot => {
                if let Err(error) = write(&series, &session.trace.capture()?, &options) {
                    exit::hint(&format!("{error:#}; watching goes on"));
                }
            }
            Wake::Finish | Wake::TargetEnded => break,
        }
        while due <= Instant::now() {
            due += every;
        }
    }
    let capture = session.finish()?;
    let printed = print(&capture, Format::Text, &options);
    write(&series, &capture, &options)?;
    printed?;
    Ok(Exit::Done)
}

fn write(series: &Series, capture: &Capture, options: &Options) -> Result<()> {
    let written = series.write(capture, options, Timestamp::now())?;
    exit::hint(&format!("written: {}", written.path.display()));
    for left in written.left {
        exit::hint(&left);
    }
    Ok(())
}
