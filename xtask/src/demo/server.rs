//! The demo's JVM as a child process.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{packages, process, workspace};

/// The leaking server; stopped when this is dropped.
pub struct Server {
    child: Child,
    /// Its end is the server's order to stop.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Server {
    /// Compiles and starts the server, and returns once it has answered a request.
    pub fn start(folder: &Path) -> Result<Self> {
        let classes = folder.join("classes");
        compile(&classes)?;
        let mut command = Command::new(java("java")?);
        // A heap limit far below what the process will hold: the leak is not in the heap.
        command
            .args(["-Xmx64m", "-cp"])
            .arg(&classes)
            .arg("demo.LeakyServer");
        // In a process group of its own, Ctrl-C does not reach it.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start java")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.context("the demo's JVM has no stdout")?);
        let mut server = Self {
            child,
            input,
            output,
        };
        server.answer("ready ")?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many Deflaters the server has forgotten since its start, by its own count.
    pub fn forgotten(&mut self) -> Result<u64> {
        let input = self.input.as_mut().context("the demo's JVM has no stdin")?;
        input
            .write_all(b"\n")
            .context("the demo's JVM does not take questions")?;
        let count = self.answer("forgotten ")?;
        count
            .parse()
            .with_context(|| format!("the demo's JVM answered {count:?} instead of a count"))
    }

    /// Lets the server end by itself.
    pub fn stop(mut self) -> Result<()> {
        self.input = None;
        let status = self
            .child
            .wait()
            .context("cannot wait for the demo's JVM")?;
        if !status.success() {
            bail!("the demo's JVM ended with {status}");
        }
        Ok(())
    }

    fn answer(&mut self, kind: &str) -> Result<String> {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .context("cannot read from the demo's JVM")?;
        match line.trim_end().strip_prefix(kind) {
            Some(answer) => Ok(answer.to_owned()),
            None => bail!("the demo's JVM ended, or wrote {line:?} instead of {kind:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compile(classes: &Path) -> Result<()> {
    let sources = workspace::root().join("xtask/demo/demo");
    fs::create_dir_all(classes).with_context(|| format!("cannot create {}", classes.display()))?;
    let mut command = Command::new(java("javac")?);
    command.args(["--release", "11", "-d"]).arg(classes);
    let files =
        fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))?;
    for file in files {
        command.arg(
            file.with_context(|| format!("cannot read {}", sources.display()))?
                .path(),
        );
    }
    process::run_quietly(&mut command)
}

fn java(tool: &str) -> Result<std::path::PathBuf> {
    packages::java_tool(tool)
        .with_context(|| format!("no {tool} in PATH or JAVA_HOME: run `cargo xtask setup`"))
}

/// While this lives, Ctrl-C interrupts the programs that we wait for and not us.
pub struct OutliveInterrupt(());

impl OutliveInterrupt {
    pub fn begin() -> Self {
        extern "C" fn nothing(_signal: libc::c_int) {}
        // A handler, because children would inherit that a signal is ignored; an exec resets a handler.
        let handler = nothing as extern "C" fn(libc::c_int);
        // SAFETY: the handler does nothing, so it is safe at any moment; the signal's number is valid.
        unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
        Self(())
    }
}

impl Drop for OutliveInterrupt {
    fn drop(&mut self) {
        // SAFETY: restores the signal's default action; the signal's number is valid.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    }
}
