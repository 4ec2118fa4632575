//! Packages of one of Debian's suites, unpacked into a root folder of their own, for `chroot` or for their own dynamic
//! linker.
//!
//! apt fetches them with lists of its own beside the system's, and verifies the archive's signature. Debian's archive keeps
//! only the newest build of each package, so that none can be pinned: the tests print what they ran.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{apt, host::Refused, jdk, process};

/// Links of a Debian root that a package of its own brings.
const MERGED: [&str; 2] = ["lib", "lib64"];

/// What to take from where.
pub struct Root<'a> {
    pub suite: &'a str,
    /// Those that the archive does not have (any more) are left out.
    pub packages: &'a [String],
    /// Without one of these, nothing of it is of use.
    pub needed: &'a [&'a str],
    /// A package that stands for the newest of several, and has nothing in it: what it depends on is taken.
    pub newest: Option<&'a str>,
}

impl Root<'_> {
    /// Downloads and unpacks everything into `folder`, which appears whole or not at all. `finish` completes it, told of the
    /// packages as `NAME=VERSION`.
    ///
    /// # Errors
    /// There is no apt-get with a Debian mirror, or a download fails.
    pub fn unpack(
        &self,
        folder: &Path,
        finish: impl FnOnce(&Path, &[String]) -> Result<()>,
    ) -> Result<()> {
        let work = folder.with_extension("new");
        jdk::remove(&work)?;
        let unpacked = Fetch::new(&work, self.suite).and_then(|fetch| {
            let packages = fetch.all(self)?;
            finish(&fetch.root, &packages)?;
            jdk::remove(folder)?;
            fs::rename(&fetch.root, folder)
                .with_context(|| format!("cannot create {}", folder.display()))
        });
        jdk::remove(&work)?;
        unpacked
    }
}

/// An apt of its own: lists, configuration and downloads below one folder.
struct Fetch {
    root: PathBuf,
    apt: PathBuf,
}

impl Fetch {
    fn new(folder: &Path, suite: &str) -> Result<Self> {
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
        let source = format!("deb {} {suite} main\n", mirror()?);
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

    /// Unpacks what there is, and says what that was.
    fn all(&self, wanted: &Root) -> Result<Vec<String>> {
        process::run(self.command("apt-get").args(["update", "-q"]))?;
        let packages = self.packages(wanted)?;
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
        Ok(packages)
    }

    /// `NAME=VERSION` of all that there is.
    fn packages(&self, wanted: &Root) -> Result<Vec<String>> {
        let mut policy = self.command("apt-cache");
        policy
            .arg("policy")
            .args(wanted.packages)
            .args(wanted.needed);
        if let Some(name) = wanted.newest {
            let mut depends = self.command("apt-cache");
            let text = process::output(depends.args(["depends", name]))?;
            policy.args(dependency(&text).with_context(|| format!("the mirror has no {name}"))?);
        }
        let found = apt::candidates(&process::output(&mut policy)?);
        let known: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(missing) = wanted.needed.iter().find(|name| !known.contains(**name)) {
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

/// The first dependency in the output of `apt-cache depends`.
fn dependency(text: &str) -> Option<[&str; 1]> {
    let found = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    found.map(|name| [name.trim()])
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

pub fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands for the newest package leads to it.
    #[test]
    fn the_newest_is_a_dependency() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-50-cloud-amd64\n";
        assert_eq!(dependency(text), Some(["linux-image-6.1.0-50-cloud-amd64"]));
        assert_eq!(dependency("linux-image-cloud-amd64\n"), None);
    }

    /// The unstable distribution is asked for where it is.
    #[test]
    fn the_mirror_is_the_main_one() {
        let targets = "Other http://a\nDebian http://b/debian-security\nDebian http://c/debian\n";
        assert_eq!(main_site(targets).as_deref(), Some("http://c/debian"));
        assert_eq!(main_site("Ubuntu http://d\n"), None);
    }
}
