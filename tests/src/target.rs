//! A process that does known work and tells the truth about it.
//!
//! It prints `ready`, waits for `go`, works, prints one JSON line per site and `done`, and waits for `exit`.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use offheap::capture::Capture;

use crate::lines::Lines;
use crate::{DEADLINE, Tool, Truth, process};

/// A running target; killed by its pid when dropped.
pub struct Target {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    read: usize,
    name: String,
}

impl Target {
    /// Starts `command` and waits until it is `ready`.
    pub fn start(command: &mut Command) -> Target {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        let stdin = child.stdin.take();
        let stdout = Lines::of(child.stdout.take().expect("stdout is piped"));
        let mut target = Target {
            child,
            stdin,
            stdout,
            read: 0,
            name,
        };
        target.await_word("ready");
        target
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends one line.
    pub fn say(&mut self, word: &str) {
        let stdin = self.stdin.as_mut().expect("the target's stdin is open");
        writeln!(stdin, "{word}")
            .unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
    }

    /// Waits for the line `word`; the truth that was told before it.
    pub fn await_word(&mut self, word: &str) -> Vec<Truth> {
        let from = self.read;
        let at = self
            .stdout
            .wait(from, DEADLINE, |line| line == word)
            .unwrap_or_else(|missed| {
                panic!(
                    "{} never said {word:?} ({missed:?}); it said {:?}",
                    self.name,
                    self.stdout.all()
                )
            });
        self.read = at + 1;
        self.stdout.all()[from..at]
            .iter()
            .filter(|line| line.starts_with('{'))
            .map(|line| Truth::parse(line))
            .collect()
    }

    /// The first line after those read that begins with `prefix`, without it.
    pub fn await_value(&mut self, prefix: &str) -> String {
        let at = self
            .stdout
            .wait(self.read, DEADLINE, |line| line.starts_with(prefix))
            .unwrap_or_else(|missed| {
                panic!(
                    "{} never said {prefix:?} ({missed:?}); it said {:?}",
                    self.name,
                    self.stdout.all()
                )
            });
        self.read = at + 1;
        self.stdout.all()[at][prefix.len()..].trim().to_owned()
    }

    /// Lets the target do its work and waits until it has told the truth about it.
    pub fn work(&mut self) -> Vec<Truth> {
        self.say("go");
        self.await_word("done")
    }

    /// Lets the target do its work under a capture with `flags`, and ends the capture.
    pub fn captured(&mut self, flags: &[&str]) -> (Capture, Vec<Truth>) {
        let tool = Tool::capture(self.pid(), flags);
        let truths = self.work();
        (tool.finish(), truths)
    }

    /// Waits for the target's own end.
    pub fn wait_end(&mut self) -> ExitStatus {
        self.stdin = None;
        let ended = process::wait(&mut self.child, DEADLINE).expect("pidfd of an own child");
        ended.unwrap_or_else(|| panic!("{} does not end", self.name))
    }

    /// Kills the target and reaps it.
    pub fn kill(&mut self) {
        process::end(&mut self.child);
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}
