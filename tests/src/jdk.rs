//! The JDKs that tests run: the installed one, and those that `cargo xtask setup --jdks` has unpacked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::session;

/// The feature releases that `OFFHEAP_JDKS` has folders for.
pub const RELEASES: [&str; 4] = ["11", "17", "21", "25"];

/// The diagnostic flags under which `Throwable` tells of the frames that a walk from the outside meets: those of hidden
/// classes and lambda forms, and, from JDK 21 on, those of the thread that carries a virtual one. Without them the JVM
/// keeps both to itself, and an equal filter here would have to know what its `@Hidden` marks.
const SHOW_ALL: [&str; 4] = [
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:+ShowHiddenFrames",
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:+ShowCarrierFrames",
];

/// Stack traces end after 1,024 frames otherwise.
const DEEP: &str = "-XX:MaxJavaStackTraceDepth=4096";

/// One JDK, or its runtime alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jdk {
    home: PathBuf,
    /// Feature release.
    pub release: u32,
    /// `17.0.15`, with the vendor where the JDK says so.
    name: String,
}

impl fmt::Display for Jdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Jdk {
    /// The JDK in `home`.
    ///
    /// # Panics
    /// A folder that is there is a JDK that runs: a broken one is no reason to skip.
    fn at(home: &Path) -> Jdk {
        let text = fs::read_to_string(home.join("release"))
            .unwrap_or_else(|error| panic!("{} is no JDK: {error}", home.display()));
        let value = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let version = value("JAVA_VERSION").expect("each JDK says its version");
        let major = version.split('.').next().and_then(|word| word.parse().ok());
        Jdk {
            home: home.to_owned(),
            release: major.unwrap_or_else(|| panic!("JDK {version} has no feature release")),
            name: format!("{version} {}", value("IMPLEMENTOR").unwrap_or_default()),
        }
    }

    /// The one whose `java` is in PATH.
    pub fn installed() -> Option<Jdk> {
        let java = fs::canonicalize(session::program("java")?).ok()?;
        Some(Jdk::at(java.parent()?.parent()?))
    }

    /// Those in `OFFHEAP_JDKS`; empty, with the reason printed, where that names none.
    pub fn downloaded() -> Vec<Jdk> {
        let Some(folder) = std::env::var_os("OFFHEAP_JDKS").map(PathBuf::from) else {
            session::skip("JDKs (OFFHEAP_JDKS names no folder)");
            return Vec::new();
        };
        let homes = RELEASES.map(|release| (release, folder.join(release)));
        let (there, missing): (Vec<_>, Vec<_>) =
            homes.into_iter().partition(|(_, home)| home.is_dir());
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.iter().map(|(release, _)| *release).collect();
            session::skip(&format!("JDK {} in OFFHEAP_JDKS", missing.join(", ")));
        }
        there
            .iter()
            .map(|(release, home)| {
                let jdk = Jdk::at(home);
                assert_eq!(jdk.release.to_string(), *release, "{}", home.display());
                jdk
            })
            .collect()
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The same JDK, copied to `home`.
    pub fn moved(&self, home: &Path) -> Jdk {
        Jdk {
            home: home.to_owned(),
            ..self.clone()
        }
    }

    fn command(&self) -> Command {
        Command::new(self.home.join("bin/java"))
    }

    /// Runs the Java target `class` with JVM `flags`, and shows all frames in its stack traces.
    pub fn java(&self, classpath: &Path, flags: &[&str], class: &str) -> Command {
        let mut java = self.command();
        java.args(["-Xmx64m", DEEP]).args(SHOW_ALL).args(flags);
        // From JDK 24 on both would be warned about.
        if self.release >= 24 {
            java.args([
                "--enable-native-access=ALL-UNNAMED",
                "--sun-misc-unsafe-memory-access=allow",
            ]);
        }
        java.arg("-cp")
            .arg(classpath)
            .arg(format!("targets.{class}"));
        java
    }

    /// Whether this build has `flags`.
    ///
    /// # Panics
    /// Where it has them and does not start with them.
    pub fn has(&self, flags: &[&str]) -> bool {
        let mut java = self.command();
        java.args(flags).arg("-version");
        let output = java
            .output()
            .unwrap_or_else(|error| panic!("can't run {java:?}: {error}"));
        let says = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        let lacks = says.contains("Unrecognized VM option") || says.contains("not supported");
        assert!(output.status.success() || lacks, "{java:?}: {says}");
        output.status.success()
    }
}
