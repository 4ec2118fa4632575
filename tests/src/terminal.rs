//! `offheap` on a terminal: what it draws is read from a screen, and keys are typed.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use vt100::Parser;

use crate::{DEADLINE, process, tool};

/// A terminal with `offheap` on it; killed by its pid when dropped.
pub struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    screen: Arc<(Mutex<Screen>, Condvar)>,
}

struct Screen {
    parser: Parser,
    /// Everything that came, for what is no picture.
    bytes: Vec<u8>,
    closed: bool,
}

impl Terminal {
    /// Starts `offheap` with these arguments and variables on a terminal of this size.
    ///
    /// # Panics
    /// There is no terminal to be had, or no `offheap`.
    pub fn start<S: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = S>,
        variables: &[(&str, &str)],
        (rows, columns): (u16, u16),
    ) -> Terminal {
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(rows, columns)).expect("a size");
        let binary = tool::binary().expect("a session was begun, so that OFFHEAP_BIN is there");
        let mut command = Command::new(binary)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR");
        for (name, value) in variables {
            command = command.env(name, value);
        }
        let child = command.spawn(pts).expect("offheap starts");
        let pty = Arc::new(pty);
        let screen = Screen {
            parser: Parser::new(rows, columns, 0),
            bytes: Vec::new(),
            closed: false,
        };
        let screen = Arc::new((Mutex::new(screen), Condvar::new()));
        let (reader, drawn) = (Arc::clone(&pty), Arc::clone(&screen));
        thread::spawn(move || read(&reader, &drawn));
        Terminal { child, pty, screen }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn type_keys(&self, keys: &str) {
        (&*self.pty)
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Changes the size, as somebody does who pulls at the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        screen.parser.screen_mut().set_size(rows, columns);
        drop(screen);
        self.pty.resize(Size::new(rows, columns)).expect("a size");
    }

    /// Waits until the lines on the screen are as wanted, and returns them.
    ///
    /// # Panics
    /// They never are.
    pub fn await_screen(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let until = Instant::now() + DEADLINE;
        let mut screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let shown = lines(&screen.parser);
            if wanted(&shown) {
                return shown;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !screen.closed,
                "{what} did not come: {shown:#?}"
            );
            let waited = self.screen.1.wait_timeout(screen, left);
            screen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether anything on the screen has a colour.
    pub fn is_coloured(&self) -> bool {
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, columns) = screen.parser.screen().size();
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| screen.parser.screen().cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default)
    }

    /// Whether the program draws on the screen beside the one with what was there before.
    pub fn is_taken_over(&self) -> bool {
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        screen.parser.screen().alternate_screen()
    }

    /// Waits for the end, and returns the exit code and all that was ever written.
    ///
    /// # Panics
    /// It does not end.
    pub fn wait_end(&mut self) -> (Option<i32>, String) {
        let ended = process::wait(&mut self.child, DEADLINE).expect("it can be waited for");
        let status = ended.expect("it ends");
        let until = Instant::now() + DEADLINE;
        let mut screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !screen.closed && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.screen.1.wait_timeout(screen, left);
            screen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (
            status.code(),
            String::from_utf8_lossy(&screen.bytes).into_owned(),
        )
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended is gone, and its pid with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(parser: &Parser) -> Vec<String> {
    let (_, columns) = parser.screen().size();
    parser.screen().rows(0, columns).collect()
}

/// A terminal whose other side is gone gives an error, which is the end.
fn read(mut pty: &Pty, screen: &(Mutex<Screen>, Condvar)) {
    let mut bytes = [0; 4096];
    loop {
        let read = pty.read(&mut bytes).unwrap_or(0);
        let mut screen_now = screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        screen_now.parser.process(&bytes[..read]);
        screen_now.bytes.extend(&bytes[..read]);
        screen_now.closed = read == 0;
        screen.1.notify_all();
        if read == 0 {
            return;
        }
    }
}
