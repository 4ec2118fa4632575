//! The tool under test: `offheap`, started as a user would.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use offheap::capture::{Capture, SCHEMA};
use tempfile::TempDir;

use crate::lines::Lines;
use crate::{DEADLINE, process};

/// Room for the stacks of all that a test does in one burst, so that a slow machine loses none. Tests that overflow the
/// ring say another size.
pub const RING_BYTES: &str = "128m";

/// A running `offheap`; killed by its pid when dropped.
pub struct Tool {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    /// Where its bundle goes; removed with this value.
    out: TempDir,
}

/// What was left when `offheap` ended.
#[derive(Debug)]
pub struct Finished {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
    pub out: TempDir,
}

/// The binary named by `OFFHEAP_BIN`.
pub fn binary() -> Option<PathBuf> {
    std::env::var_os("OFFHEAP_BIN")
        .map(PathBuf::from)
        .filter(|path| path.is_file())
}

impl Tool {
    /// Starts `offheap` with `arguments` and does not wait for anything.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Tool {
        let mut command =
            Command::new(binary().expect("a session was begun, so that OFFHEAP_BIN is there"));
        command.args(arguments);
        Tool::spawn(
            &mut command,
            TempDir::new().expect("a directory for the bundle"),
        )
    }

    /// Starts `command`, whose bundle goes to `out`.
    pub fn spawn(command: &mut Command, out: TempDir) -> Tool {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("RUST_BACKTRACE")
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        let stdout = Lines::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::of(child.stderr.take().expect("stderr is piped"));
        Tool {
            child,
            stdout,
            stderr,
            out,
        }
    }

    /// Starts `offheap capture` on `pid`, for longer than any test runs, and returns when its probes are live.
    pub fn capture(pid: u32, flags: &[&str]) -> Tool {
        let tool = Tool::capture_unawaited(pid, flags);
        tool.await_live();
        tool
    }

    /// Like [`Tool::capture`], without waiting for the probes.
    pub fn capture_unawaited(pid: u32, flags: &[&str]) -> Tool {
        let out = TempDir::new().expect("a directory for the bundle");
        let mut command =
            Command::new(binary().expect("a session was begun, so that OFFHEAP_BIN is there"));
        command
            .arg("capture")
            .arg(pid.to_string())
            .args(["-d", "600s", "-o"])
            .arg(out.path().join("bundle"));
        command.args(flags);
        if !flags.contains(&"--ring-bytes") {
            command.args(["--ring-bytes", RING_BYTES]);
        }
        // Targets of tests are hotter than a budget allows; tests of the budget say one.
        if !flags.contains(&"--max-overhead") {
            command.args(["--max-overhead", "none"]);
        }
        Tool::spawn(&mut command, out)
    }

    /// Waits for the line on stderr that says that all probes are live.
    pub fn await_live(&self) {
        self.await_stderr("the line `probes live`", |line| {
            line.starts_with("probes live")
        });
    }

    /// Waits for a line on stderr, and returns it.
    pub fn await_stderr(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        match self.stderr.wait(0, DEADLINE, wanted) {
            Ok(index) => self.stderr.all().swap_remove(index),
            Err(missed) => panic!(
                "{what} did not come ({missed:?}); offheap said {:#?}",
                self.stderr.all()
            ),
        }
    }

    /// Waits for a line on stdout.
    pub fn await_stdout(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        if let Err(missed) = self.stdout.wait(0, DEADLINE, wanted) {
            panic!(
                "{what} did not come ({missed:?}); offheap said {:#?}",
                self.stderr.all()
            );
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        process::signal(&self.child, signal);
    }

    /// Where its bundle is written.
    pub fn bundle(&self) -> PathBuf {
        self.out.path().join("bundle")
    }

    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Waits until `offheap` has ended by itself.
    pub fn ended(mut self) -> Finished {
        let status = process::wait(&mut self.child, DEADLINE).expect("pidfd of an own child");
        let Some(status) = status else {
            panic!("offheap does not end; it said {:#?}", self.stderr.all());
        };
        for pipe in [&self.stdout, &self.stderr] {
            pipe.wait_closed(DEADLINE)
                .expect("the pipes of an ended process close");
        }
        let out = std::mem::replace(
            &mut self.out,
            TempDir::new().expect("a temporary directory"),
        );
        let finished = Finished {
            code: status.code(),
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
            out,
        };
        assert_no_trace(&finished);
        finished
    }

    /// Interrupts a capture as Ctrl-C does.
    pub fn interrupted(self) -> Finished {
        self.signal(libc::SIGINT);
        self.ended()
    }

    /// Ends a capture as Ctrl-C does and reads its bundle.
    pub fn finish(self) -> Capture {
        let finished = self.interrupted();
        assert_eq!(
            finished.code,
            Some(0),
            "a capture that was interrupted is done; it said {:#?}",
            finished.stderr
        );
        finished.capture()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

impl Finished {
    pub fn bundle(&self) -> PathBuf {
        self.out.path().join("bundle")
    }

    /// The `capture.json` of the bundle.
    pub fn capture(&self) -> Capture {
        read_capture(&self.bundle())
            .unwrap_or_else(|error| panic!("{error}; offheap said {:#?}", self.stderr))
    }

    /// The lines of stderr that say something.
    pub fn messages(&self) -> Vec<&str> {
        self.stderr
            .iter()
            .map(String::as_str)
            .filter(|line| !line.trim().is_empty())
            .collect()
    }
}

/// No message of ours is a panic or a stack trace.
fn assert_no_trace(finished: &Finished) {
    let trace = finished
        .stderr
        .iter()
        .find(|line| line.contains("panicked at") || line.contains("stack backtrace"));
    assert!(
        trace.is_none(),
        "offheap shows its own stack: {:#?}",
        finished.stderr
    );
}

/// Reads `capture.json` in `bundle`.
pub fn read_capture(bundle: &Path) -> Result<Capture, String> {
    let path = bundle.join("capture.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("can't read {}: {error}", path.display()))?;
    let capture: Capture = serde_json::from_str(&text)
        .map_err(|error| format!("{} is no capture: {error}", path.display()))?;
    if capture.schema != SCHEMA {
        return Err(format!(
            "{} has the schema {:?}",
            path.display(),
            capture.schema
        ));
    }
    Ok(capture)
}
