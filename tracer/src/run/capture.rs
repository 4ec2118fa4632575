//! `offheap capture`: one window, then a bundle.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::options::{options, print};
use super::session::{Session, Wake};
use crate::bundle::{self, Owner};
use crate::capture::Capture;
use crate::exit::{self, Exit};
use crate::report::{Format, Options};
use crate::settings::{Console, View};

/// How often the progress bar moves.
const STEP: Duration = Duration::from_millis(250);

pub async fn run(
    mut session: Session,
    view: &View,
    duration: Duration,
    dir: &Path,
) -> Result<Exit> {
    let options = options(view);
    let start = Instant::now();
    let bar = progress(duration);
    loop {
        let due = (start + duration).min(Instant::now() + STEP);
        match session.next(Some(due)).await? {
            Wake::Due if start.elapsed() >= duration => break,
            Wake::Due => bar.set_position(start.elapsed().as_millis() as u64),
            // A bundle that can't be written now is no reason to stop.
            Wake::Snapshot => {
                if let Err(error) = write(&session.trace.capture()?, dir, &options) {
                    exit::hint(&format!("{error:#}; the capture goes on"));
                }
            }
            Wake::Finish | Wake::TargetEnded => break,
        }
    }
    bar.finish_and_clear();
    let capture = session.finish()?;
    // The report is seen even where the bundle can't be written.
    let printed = print(&capture, Format::Text, &options);
    write(&capture, dir, &options)?;
    printed?;
    Ok(Exit::Done)
}

fn write(capture: &Capture, dir: &Path, options: &Options) -> Result<()> {
    bundle::write(dir, capture, options, Owner::of_invoker())?;
    exit::hint(&format!("written: {}", dir.display()));
    Ok(())
}

fn progress(duration: Duration) -> ProgressBar {
    if !Console::here().progress {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(duration.as_millis() as u64);
    let style = ProgressStyle::with_template(
        "capturing {wide_bar} {elapsed} of {msg} (Ctrl-C: report now)",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(indicatif::HumanDuration(duration).to_string());
    bar
}
