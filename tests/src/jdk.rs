//! The JDKs that tests run: the installed one, those that `cargo xtask setup --jdks` has unpacked, and those of Debian's
//! unstable distribution that `cargo xtask test --full` has.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::in_own_mounts;
use crate::{session, sources};

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

/// Compilers begin after a twentieth of the usual calls, and the program waits for them: fewer rounds are enough for all
/// tiers, and which method is compiled does not depend on the machine's load.
const SOON: [&str; 2] = ["-XX:CompileThresholdScaling=0.05", "-Xbatch"];
/// JDK 8 has no flag for all of them.
const SOON_8: [&str; 15] = [
    "-Xbatch",
    "-XX:CompileThreshold=500",
    "-XX:Tier3InvocationThreshold=10",
    "-XX:Tier3MinInvocationThreshold=5",
    "-XX:Tier3CompileThreshold=100",
    "-XX:Tier3BackEdgeThreshold=3000",
    "-XX:Tier4InvocationThreshold=250",
    "-XX:Tier4MinInvocationThreshold=30",
    "-XX:Tier4CompileThreshold=750",
    "-XX:Tier4BackEdgeThreshold=2000",
    "-XX:Tier0InvokeNotifyFreqLog=3",
    "-XX:Tier0BackedgeNotifyFreqLog=6",
    "-XX:Tier3InvokeNotifyFreqLog=6",
    "-XX:Tier3BackedgeNotifyFreqLog=9",
    "-XX:Tier23InlineeNotifyFreqLog=16",
];

/// One JDK, or its runtime alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jdk {
    /// As the JVM itself sees it.
    home: PathBuf,
    /// Where it runs in a root folder (and so in a mount namespace) of its own.
    root: Option<PathBuf>,
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
            root: None,
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

    /// Those of Debian's unstable distribution, of which `OFFHEAP_JDKS` has a root folder; empty, with the reason
    /// printed, where there is none.
    pub fn debian() -> Vec<Jdk> {
        let lines = debian_lines();
        let jdks = lines.iter().filter(|(word, ..)| word != "zero");
        jdks.filter_map(|(release, version, root)| {
            let release = release.parse().ok()?;
            Some(Jdk {
                home: debian_home(release),
                root: Some(root.clone()),
                release,
                name: format!("{release} {version} Debian unstable"),
            })
        })
        .collect()
    }

    /// The one of them that also has HotSpot without generated code; None, with the reason printed, where none has.
    pub fn zero() -> Option<Jdk> {
        let lines = debian_lines();
        let zero = lines.iter().find(|(word, ..)| word == "zero");
        let release = zero.and_then(|(_, release, _)| release.parse().ok());
        if release.is_none() {
            session::skip("a Zero VM of Debian's unstable distribution");
        }
        Jdk::debian()
            .into_iter()
            .find(|jdk| Some(jdk.release) == release)
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
        let java = self.home.join("bin/java");
        let Some(root) = &self.root else {
            return Command::new(java);
        };
        // What is compiled for the tests is found at the same path inside.
        let script = "for shared in /proc /dev \"$2\"; do \
                          mkdir -p \"$1$shared\"; mount --rbind \"$shared\" \"$1$shared\"; \
                      done; root=$1; shift 2; exec chroot \"$root\" \"$@\"";
        let mut command = in_own_mounts(script);
        command.arg(root).arg(sources::directory()).arg(java);
        command
    }

    /// Runs the Java target `class` with JVM `flags`, and shows all frames in its stack traces.
    pub fn java(&self, classpath: &Path, flags: &[&str], class: &str) -> Command {
        let mut java = self.command();
        java.args(["-Xmx64m", DEEP]).args(SHOW_ALL);
        java.args(if self.release < 9 { &SOON_8[..] } else { &SOON });
        java.args(flags);
        // Whoever watches reads about code a moment after it ran. Since JDK 20 collections free what was given up at
        // once, and what nothing has called between some of them.
        if self.release >= 20 {
            java.args(["-XX:-ClassUnloading", "-XX:-MethodFlushing"]);
        }
        // Both would be warned about.
        if self.release >= 21 {
            java.arg("--enable-native-access=ALL-UNNAMED");
        }
        if self.release >= 24 {
            java.arg("--sun-misc-unsafe-memory-access=allow");
        }
        java.arg("-cp")
            .arg(classpath)
            .arg(format!("targets.{class}"));
        java
    }

    /// Runs the Java target `class` with JVM `flags` and no others.
    pub fn plain_java(&self, classpath: &Path, flags: &[&str], class: &str) -> Command {
        let mut java = self.command();
        java.args(flags)
            .arg("-cp")
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

/// What `cargo xtask test --full` has noted of each: two words and the root folder.
fn debian_lines() -> Vec<(String, String, PathBuf)> {
    let root = std::env::var_os("OFFHEAP_JDKS").map(|folder| Path::new(&folder).join("debian"));
    let noted = root.and_then(|root| Some((fs::read_to_string(root.join("versions")).ok()?, root)));
    let Some((text, root)) = noted else {
        session::skip("JDKs of Debian's unstable distribution (debian in OFFHEAP_JDKS)");
        return Vec::new();
    };
    let words = text.lines().filter_map(|line| line.split_once(' '));
    words
        .map(|(first, second)| (first.to_owned(), second.to_owned(), root.clone()))
        .collect()
}

/// Where Debian's packages install a release.
fn debian_home(release: u32) -> PathBuf {
    let architecture = if cfg!(target_arch = "x86_64") {
        "amd64"
    } else {
        "arm64"
    };
    PathBuf::from(format!(
        "/usr/lib/jvm/java-{release}-openjdk-{architecture}"
    ))
}
