//! The terminal: taken over for as long as this lives, and given back as it was.

use std::future::poll_fn;
use std::io::{self, IsTerminal as _, Stdout};
use std::pin::Pin;

use crossterm::event::{Event, EventStream};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use futures_core::Stream;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};

use super::cells::Glyphs;
use super::draw::{self, Look};
use super::state::Live;

/// A terminal that is drawn on.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    events: EventStream,
    look: Look,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// It can't be switched to single keys, or not be drawn on.
    pub fn open(colour: bool) -> io::Result<Screen> {
        enable_raw_mode()?;
        let opened = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => {
                let mut screen = Screen {
                    terminal,
                    events: EventStream::new(),
                    look: Look {
                        colour,
                        glyphs: glyphs(),
                    },
                };
                // Not every terminal has a second screen.
                screen.clear()?;
                Ok(screen)
            }
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Whether somebody sits at both ends.
    pub fn is_possible() -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb
    }

    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, live: &mut Live) -> io::Result<()> {
        let look = self.look;
        self.terminal.draw(|frame| draw::draw(frame, live, look))?;
        Ok(())
    }

    /// The next picture is drawn as a whole.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal where the cursor is, and waits for an answer.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }

    /// The next key, or change of size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub async fn event(&mut self) -> io::Result<Event> {
        let next = poll_fn(|context| Pin::new(&mut self.events).poll_next(context)).await;
        next.unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::UnexpectedEof)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Nobody is left to be told when the terminal is gone.
fn give_back() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, crossterm::cursor::Show);
    let _ = disable_raw_mode();
}

/// By the locale, as every program finds out what the terminal can show.
fn glyphs() -> Glyphs {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.is_empty()).then_some(value)
    });
    let upper = locale.unwrap_or_default().to_uppercase();
    match upper.contains("UTF-8") || upper.contains("UTF8") {
        true => Glyphs::Unicode,
        false => Glyphs::Ascii,
    }
}
