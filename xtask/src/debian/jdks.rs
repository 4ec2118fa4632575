//! JDKs of Debian's unstable distribution, for the releases that no wheel carries and for a second vendor.
//!
//! They need a newer C library than a stable system has, and so they get a root folder of their own with everything
//! that they need: `target/jdks/debian`, for `chroot`.

use std::{fmt::Write, path::PathBuf};

use anyhow::{Context, Result};

use super::archive::{self, Root};
use crate::jdk;

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

/// The root folder.
pub fn folder() -> PathBuf {
    jdk::folder().join("debian")
}

/// Downloads and unpacks them if that was not done; quick when it was.
///
/// # Errors
/// There is no apt-get with a Debian mirror, or a download fails.
pub fn ensure() -> Result<()> {
    let folder = folder();
    if folder.join(STAMP).is_file() {
        return Ok(());
    }
    eprintln!("downloading JDKs of Debian {SUITE} into target/jdks: tests run them");
    let mut packages: Vec<String> = RELEASES.map(headless).to_vec();
    packages.push(ZERO.to_owned());
    let root = Root {
        suite: SUITE,
        packages: &packages,
        needed: &LIBRARIES,
        newest: None,
    };
    root.unpack(&folder, |root, packages| {
        archive::write(&root.join(STAMP), &versions(packages))
    })
    .with_context(|| format!("cannot get the JDKs of Debian {SUITE}"))
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

#[cfg(test)]
mod tests {
    use super::*;

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
