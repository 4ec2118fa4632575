//! `targets.Witness` of the integration tests, run by the unwinder's own tests: a JVM that tells its own stacks.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use serde::Deserialize;

use super::stops;

/// A JDK or a runtime.
pub struct Jdk {
    home: PathBuf,
    release: u32,
    /// In the names of fixtures: `17`, and `17-debian` for one that was installed.
    name: String,
}

impl fmt::Display for Jdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JDK {}", self.name)
    }
}

impl Jdk {
    /// Those of `cargo xtask setup --jdks`, and the installed one.
    pub fn all() -> Vec<Jdk> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/jdks");
        let downloaded = ["11", "17", "21", "25"].iter().filter_map(|release| {
            let home = folder.join(release);
            home.is_dir().then(|| Jdk::at(home, release))
        });
        downloaded.chain(Jdk::installed()).collect()
    }

    /// The one whose `javac` is on the path.
    pub fn installed() -> Option<Jdk> {
        let path = std::env::var_os("PATH")?;
        let javac = std::env::split_paths(&path).map(|folder| folder.join("javac"));
        let javac = javac.filter_map(|file| file.canonicalize().ok()).next()?;
        let home = javac.parent()?.parent()?.to_owned();
        let release = std::fs::read_to_string(home.join("release")).ok()?;
        let value = |key| {
            let line = release.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_matches(['=', '"']))
        };
        let major = value("JAVA_VERSION")?.split('.').next()?;
        let vendor = value("IMPLEMENTOR")?.split(' ').next()?.to_lowercase();
        Some(Jdk::at(home.clone(), &format!("{major}-{vendor}")))
    }

    fn at(home: PathBuf, name: &str) -> Jdk {
        let release = name.split('-').next().and_then(|major| major.parse().ok());
        Jdk {
            home,
            release: release.unwrap(),
            name: String::from(name),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the witness and shows all frames in its stack traces (`tests/src/jdk.rs` says why).
    fn command(&self, classes: &Path, flags: &[&str]) -> Command {
        let mut java = Command::new(self.home.join("bin/java"));
        java.args([
            "-Xmx64m",
            "-XX:MaxJavaStackTraceDepth=4096",
            "-XX:+UnlockDiagnosticVMOptions",
            "-XX:+ShowHiddenFrames",
            "-XX:+IgnoreUnrecognizedVMOptions",
            "-XX:+ShowCarrierFrames",
        ]);
        if self.release >= 24 {
            java.args([
                "--enable-native-access=ALL-UNNAMED",
                "--sun-misc-unsafe-memory-access=allow",
            ]);
        }
        // Symbols are bound before the first stack is taken.
        java.env("LD_BIND_NOW", "1");
        java.args(flags)
            .arg("-cp")
            .arg(classes)
            .arg("targets.Witness");
        java
    }
}

/// One allocation, and the stack that the JVM has for it.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    pub path: String,
    pub means: String,
    /// What malloc is asked for.
    pub bytes: u64,
    frames: Vec<Told>,
}

#[derive(Clone, Debug, Deserialize)]
struct Told {
    class: String,
    method: String,
    line: i64,
}

impl Case {
    /// The frames as `class.method:line`, leaf first; line 0 where there is none.
    pub fn told(&self) -> Vec<String> {
        let frame = |frame: &Told| {
            let class = frame.class.split(['/', '+']).next().unwrap_or_default();
            format!("{class}.{}:{}", frame.method, frame.line.max(0))
        };
        self.frames.iter().map(frame).collect()
    }
}

/// The running program, killed at the end.
pub struct Witness {
    child: Child,
    _classes: tempfile::TempDir,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        stops::reap(self.child.id());
    }
}

impl Witness {
    /// The sizes that it asks for; few others are as large.
    pub const SIZES: RangeInclusive<u64> = 20_000..=40_000;

    /// Compiles and starts the witness, and waits until it is warm; None, with the reason printed, where a compiler is
    /// missing.
    pub fn start(jdk: &Jdk, flags: &[&str], rounds: u32) -> Option<Self> {
        let classes = tempfile::tempdir().unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let sources = std::fs::read_dir(tests.join("java/targets")).unwrap();
        let mut javac = Command::new("javac");
        javac
            .args(["--release", "11", "-g", "-nowarn", "-d"])
            .arg(classes.path());
        javac.args(sources.map(|source| source.unwrap().path()));
        let library = classes.path().join("libwitness.so");
        let include = Jdk::installed()?.home.join("include");
        let mut cc = Command::new("cc");
        cc.args([
            "-O2",
            "-g",
            "-fno-builtin",
            "-fno-optimize-sibling-calls",
            "-shared",
            "-fPIC",
        ]);
        cc.arg("-I")
            .arg(&include)
            .arg("-I")
            .arg(include.join("linux"));
        cc.arg("-o").arg(&library).arg(tests.join("c/witness.c"));
        for command in [&mut javac, &mut cc] {
            match command.output() {
                Err(error) => {
                    println!("skipped: {command:?} can't be run: {error}");
                    return None;
                }
                Ok(output) => assert!(output.status.success(), "{command:?}: {output:?}"),
            }
        }
        let mut java = jdk.command(classes.path(), flags);
        java.arg(library).arg(rounds.to_string());
        java.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let child = java.spawn().unwrap();
        let mut witness = Witness {
            child,
            _classes: classes,
        };
        let mut lines = BufReader::new(witness.child.stdout.take().unwrap());
        assert!(await_word(&mut lines, "ready").is_empty());
        witness.child.stdout = Some(lines.into_inner());
        Some(witness)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it work. Its cases come when it is done; then it gets [`stops::WAKE`] and waits.
    pub fn go(&mut self) -> JoinHandle<Vec<Case>> {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let (stdout, pid) = (self.child.stdout.take().unwrap(), self.child.id() as i32);
        thread::spawn(move || {
            let cases = read(stdout);
            // SAFETY: plain system call; the process is a child that nobody has reaped.
            assert_eq!(unsafe { libc::kill(pid, stops::WAKE) }, 0);
            cases
        })
    }
}

fn read(stdout: ChildStdout) -> Vec<Case> {
    let lines = await_word(&mut BufReader::new(stdout), "done");
    let cases = lines.iter().filter_map(|line| line.strip_prefix("case "));
    cases
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

/// The lines before `word`.
fn await_word(from: &mut impl BufRead, word: &str) -> Vec<String> {
    let lines = from.lines().map(Result::unwrap);
    let mut ended = false;
    let lines = lines.take_while(|line| {
        ended = line == word;
        !ended
    });
    let lines = lines.collect();
    assert!(ended, "the JVM ended after {lines:?}");
    lines
}
