//! `offheap attach`: a table every few seconds, the report at the end.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::time::Instant;

use super::live::BUNDLE;
use super::options::{options, print};
use super::session::{Session, Wake};
use crate::bundle::{self, Owner};
use crate::capture::Capture;
use crate::exit::{self, Exit};
use crate::report::{Format, Options, table};
use crate::settings::{Console, View};

/// Clears a terminal and puts the cursor in its corner (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

pub async fn run(
    mut session: Session,
    view: &View,
    interval: Duration,
    duration: Option<Duration>,
) -> Result<Exit> {
    let options = options(view);
    let start = Instant::now();
    let end = duration.map(|duration| start + duration);
    let mut due = start + interval;
    loop {
        let next = end.map_or(due, |end| end.min(due));
        match session.next(Some(next)).await? {
            Wake::Due if end.is_some_and(|end| Instant::now() >= end) => break,
            Wake::Snapshot if session.has_passed() => save(&session.capture()?, &options),
            Wake::Due | Wake::Snapshot => show(&session.trace.view()?, &options)?,
            Wake::Finish | Wake::TargetEnded => break,
        }
        while due <= Instant::now() {
            due += interval;
        }
    }
    let capture = session.finish()?;
    print(&capture, Format::Text, &options)?;
    Ok(Exit::Done)
}

/// Writes a bundle here; one that can't be written is no reason to stop.
fn save(capture: &Capture, options: &Options) {
    let dir = bundle::expand(Path::new(BUNDLE), capture.target.pid, Timestamp::now());
    match bundle::write(&dir, capture, options, Owner::of_invoker()) {
        Ok(()) => exit::hint(&format!("written: {}", dir.display())),
        Err(error) => exit::hint(&format!("{error:#}; the trace goes on")),
    }
}

fn show(capture: &Capture, options: &Options) -> Result<()> {
    let mut text = Vec::new();
    table::write(capture, options, &mut text)?;
    let text = String::from_utf8_lossy(&text);
    if Console::here().redraw {
        exit::print(&format!("{CLEAR}{text}"))
    } else {
        exit::print(&format!("{text}\n"))
    }
}
