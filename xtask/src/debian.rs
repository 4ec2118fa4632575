//! JDKs of Debian's unstable distribution, for the releases that no wheel carries and for a second vendor.
//!
//! They need a newer C library than a stable system has, and so they get a root folder of their own with everything
//! that they need: `target/jdks/debian`, for `chroot`. apt fetches them with lists of its own beside the system's, and
//! verifies the archive's signature. Debian's archive keeps only the newest build of each, so that none can be pinned:
//! the tests print what they ran.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{apt, host::Refused, jdk, process};

const SUITE: &str = "sid";
/// Feature releases, newest last. Those that the archive does not have (any more) are left out.
const RELEASES: [u32; 8] = [8, 11, 17, 21, 25, 26, 27, 28];
/// Runs without generated code: that Java frames can't be told is to be said. (Later ones lack the foreign functions
/// that the tests' program calls.)
const ZERO: &str = "openjdk-17-jre-zero";
/// What a headless JVM is linked with.
const LIBRARIES: [&str; 4] = ["libc6", "libstdc++6", "libgcc-s1", "zlib1g"];
/// Says that the folder is whole, and what was unpacked.
const STAMP: &str = "versions";
/// Links of a Debian root that a package of its own brings.
const MERGED: [&str; 2] = ["lib", "lib64"];

/// The root folder.
pub fn folder() -> PathBuf {
    jdk::folder().join("debian")
}

/// Downloads and unpacks them if that was not done; quick when it was.
///
/// # Errors
/// There is no apt-get with a Debian mirror, or a download fails.
pub fn ensure() -> Result<()> {
    let root = folder();
    if root.join(STAMP).is_file() {
        return Ok(());
    }
    let new = jdk::folder().join("debian.new");
    jdk::remove(&new)?;
    eprintln!("downloading JDKs of Debian {SUITE} into target/jdks: tests run them");
    let fetched = Fetch::new(&new).and_then(|fetch| fetch.all(&root));
    jdk::remove(&new)?;
    fetched.with_context(|| format!("cannot get the JDKs of Debian {SUITE}"))
}

/// An apt of its own: lists, configuration and downloads below one folder.
struct Fetch {
    root: PathBuf,
    apt: PathBuf,
}

impl Fetch {
    fn new(folder: &Path) -> Result<Self> {
        let fetch = Fetch {
            root: folder.join("root"),
            apt: folder.join("apt"),
        };
        for name in [
            "etc/parts",
            "lists/partial",
            "cache/archives/partial",
            "debs",
        ] {
            create(&fetch.apt.join(name))?;
        }
        let source = format!("deb {} {SUITE} main\n", mirror()?);
        write(&fetch.apt.join("etc/sources.list"), &source)?;
        write(&fetch.apt.join("status"), "")?;
        write(&fetch.config(), &configuration(&fetch.apt))?;
        Ok(fetch)
    }

    fn config(&self) -> PathBuf {
        self.apt.join("apt.conf")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.config()).env("LC_ALL", "C");
        command.current_dir(self.apt.join("debs"));
        command
    }

    /// Everything, at last under the name `done`.
    fn all(&self, done: &Path) -> Result<()> {
        process::run(self.command("apt-get").args(["update", "-q"]))?;
        let packages = self.packages()?;
        process::run(
            self.command("apt-get")
                .args(["download", "-q"])
                .args(&packages),
        )?;
        create(&self.root)?;
        let debs = fs::read_dir(self.apt.join("debs")).context("cannot read what apt-get left")?;
        for deb in debs.flatten() {
            let mut unpack = Command::new("dpkg-deb");
            process::run_quietly(unpack.arg("-x").arg(deb.path()).arg(&self.root))?;
        }
        self.complete()?;
        write(&self.root.join(STAMP), &versions(&packages))?;
        jdk::remove(done)?;
        fs::rename(&self.root, done).with_context(|| format!("cannot create {}", done.display()))
    }

    /// `NAME=VERSION` of all that there is.
    fn packages(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = RELEASES.map(headless).to_vec();
        names.push(ZERO.to_owned());
        names.extend(LIBRARIES.map(str::to_owned));
        let policy = process::output(self.command("apt-cache").arg("policy").args(&names))?;
        let found = apt::candidates(&policy);
        let known: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(missing) = LIBRARIES.iter().find(|name| !known.contains(**name)) {
            bail!("the mirror has no {missing}");
        }
        let chosen = found
            .iter()
            .map(|(name, version)| format!("{name}={version}"));
        Ok(chosen.collect())
    }

    /// What is no package's: the links of a merged root, and the folders that something is mounted on.
    fn complete(&self) -> Result<()> {
        for name in MERGED {
            let link = self.root.join(name);
            if !link.exists() {
                symlink(format!("usr/{name}"), &link)
                    .with_context(|| format!("cannot create {}", link.display()))?;
            }
        }
        for name in ["proc", "dev", "tmp"] {
            create(&self.root.join(name))?;
        }
        Ok(())
    }
}

fn headless(release: u32) -> String {
    format!("openjdk-{release}-jre-headless")
}

/// One line for each JDK, its release and its package's version; Zero is one of them.
fn versions(packages: &[String]) -> String {
    let mut text = String::new();
    for release in RELEASES {
        let prefix = format!("{}=", headless(release));
        for version in packages
            .iter()
            .filter_map(|package| package.strip_prefix(&prefix))
        {
            let _ = writeln!(text, "{release} {version}");
        }
    }
    if packages.iter().any(|package| package.starts_with(ZERO)) {
        text.push_str("zero 17\n");
    }
    text
}

/// Where this machine's own packages come from.
fn mirror() -> Result<String> {
    let refuse = |text: &str| Refused(text.to_owned()).into();
    if !apt::is_there() || process::find_in_path("dpkg-deb").is_none() {
        return Err(refuse("there is no apt-get to download them with"));
    }
    let mut targets = Command::new("apt-get");
    targets.args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(SITE)",
        "Created-By: Packages",
    ]);
    let text = process::output(&mut targets)?;
    main_site(&text).ok_or_else(|| refuse("apt has no Debian mirror; they run on Debian alone"))
}

/// The first of Debian's own sites that is not the one for security updates, which has no unstable distribution.
fn main_site(targets: &str) -> Option<String> {
    let debian = |line: &str| line.strip_prefix("Debian ").map(str::to_owned);
    targets
        .lines()
        .filter_map(debian)
        .find(|site| !site.contains("security"))
}

/// An archive whose newest release file is some days old is still signed, and clocks of virtual machines run ahead.
fn configuration(apt: &Path) -> String {
    let apt = apt.display();
    format!(
        "Dir::Etc \"{apt}/etc\";\nDir::Etc::sourceparts \"{apt}/etc/parts\";\n\
         Dir::Etc::trusted \"/etc/apt/trusted.gpg\";\nDir::Etc::trustedparts \"/etc/apt/trusted.gpg.d\";\n\
         Dir::State::lists \"{apt}/lists\";\nDir::State::status \"{apt}/status\";\n\
         Dir::Cache \"{apt}/cache\";\nAPT::Sandbox::User \"\";\nAcquire::Languages \"none\";\n\
         Acquire::Check-Valid-Until \"false\";\n"
    )
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unstable distribution is asked for where it is.
    #[test]
    fn the_mirror_is_the_main_one() {
        let targets = "Other http://a\nDebian http://b/debian-security\nDebian http://c/debian\n";
        assert_eq!(main_site(targets).as_deref(), Some("http://c/debian"));
        assert_eq!(main_site("Ubuntu http://d\n"), None);
    }

    /// Tests learn which releases there are, and how they are called.
    #[test]
    fn versions_name_what_was_unpacked() {
        let packages = [
            "libc6=2.43-7",
            "openjdk-26-jre-headless=26.0.2.1+1-1",
            "openjdk-8-jre-headless=8u504-ga-1",
        ];
        let text = versions(&packages.map(str::to_owned));
        assert_eq!(text, "8 8u504-ga-1\n26 26.0.2.1+1-1\n");
    }
}
