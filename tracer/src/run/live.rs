//! `offheap attach` on a terminal: the live view, and the report at the end.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::Event;
use jiff::Timestamp;
use tokio::time::Instant;

use super::options::{options, print};
use super::session::{Session, Wake};
use super::signals::Signals;
use crate::bundle::{self, Owner};
use crate::capture::Capture;
use crate::exit::Exit;
use crate::live::{Live, Request, Screen};
use crate::report::{Format, Options};
use crate::settings::{Console, View};

/// Where the bundles of the key `s` and of thresholds go.
pub const BUNDLE: &str = "offheap-%p-%t";

pub async fn run(
    mut session: Session,
    view: &View,
    interval: Duration,
    duration: Option<Duration>,
) -> Result<Exit> {
    let options = options(view);
    let capture = {
        let mut screen = Screen::open(Console::here().colour).context("cannot use the terminal")?;
        let mut live = Live::new(options.clone());
        session.keep_news();
        let watch = Watch {
            options: &options,
            interval,
            end: duration.map(|duration| Instant::now() + duration),
        };
        let last = watch
            .until_the_end(&mut session, &mut screen, &mut live)
            .await?;
        let capture = session.finish()?;
        if last == Last::TargetEnded {
            live.finish(capture.clone());
            until_left(&mut screen, &mut live).await?;
        }
        capture
    };
    print(&capture, Format::Text, &options)?;
    Ok(Exit::Done)
}

/// Why the view ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Asked,
    TargetEnded,
}

struct Watch<'a> {
    options: &'a Options,
    interval: Duration,
    end: Option<Instant>,
}

impl Watch<'_> {
    async fn until_the_end(
        &self,
        session: &mut Session,
        screen: &mut Screen,
        live: &mut Live,
    ) -> Result<Last> {
        let mut due = Instant::now();
        loop {
            screen.draw(live)?;
            let next = self.end.map_or(due, |end| end.min(due));
            // Both sides can be dropped at any point of waiting and lose nothing.
            let request = tokio::select! {
                wake = session.next(Some(next)) => match wake? {
                    Wake::Due if self.end.is_some_and(|end| Instant::now() >= end) => {
                        return Ok(Last::Asked);
                    }
                    Wake::Due => {
                        due = Instant::now() + self.interval;
                        match live.is_paused() {
                            true => Request::Nothing,
                            false => Request::Refresh,
                        }
                    }
                    Wake::Snapshot => Request::Snapshot,
                    Wake::Finish => return Ok(Last::Asked),
                    Wake::TargetEnded => return Ok(Last::TargetEnded),
                },
                event = screen.event() => live.handle(&event?),
            };
            session
                .kept_news()
                .into_iter()
                .for_each(|line| live.tell(line));
            match request {
                Request::Quit => return Ok(Last::Asked),
                Request::Refresh => live.update(session.trace.view()?),
                Request::Snapshot => {
                    let capture = session.capture()?;
                    live.tell(self.save(&capture));
                }
                Request::Clear => screen.clear()?,
                Request::Redraw | Request::Nothing => {}
            }
        }
    }

    /// Writes a bundle, and says where; one that can't be written is no reason to stop.
    fn save(&self, capture: &Capture) -> String {
        let dir = bundle::expand(Path::new(BUNDLE), capture.target.pid, Timestamp::now());
        match bundle::write(&dir, capture, self.options, Owner::of_invoker()) {
            Ok(()) => format!("written: {}", dir.display()),
            Err(error) => format!("{error:#}; the trace goes on"),
        }
    }
}

/// The last state stays on the screen until somebody has seen it.
async fn until_left(screen: &mut Screen, live: &mut Live) -> Result<()> {
    let mut signals = Signals::listen()?;
    loop {
        screen.draw(live)?;
        let event: Event = tokio::select! {
            _ = signals.next() => return Ok(()),
            event = screen.event() => event?,
        };
        match live.handle(&event) {
            Request::Quit => return Ok(()),
            Request::Clear => screen.clear()?,
            Request::Snapshot => live.tell("the report follows when you leave (q)".to_owned()),
            Request::Refresh | Request::Redraw | Request::Nothing => {}
        }
    }
}
