//! C libraries, allocators and zlib of Debian's other releases: `target/libraries/SUITE`, to be probed, and to be run by
//! their own dynamic linker. Each has another compiler's code at the places where probes go.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::archive::{self, Root};
use crate::workspace;

/// Older and newer than the stable release of today.
const SUITES: [&str; 3] = ["bullseye", "trixie", "sid"];
/// Allocators, by all the names that releases give to their packages.
const ALLOCATORS: [&str; 10] = [
    "libjemalloc2",
    "libtcmalloc-minimal4",
    "libtcmalloc-minimal4t64",
    "libgoogle-perftools4",
    "libgoogle-perftools4t64",
    "libmimalloc2.0",
    "libmimalloc2.1",
    "libmimalloc3",
    "libmimalloc3.0",
    "musl",
];
/// What the tests' programs are linked with.
const NEEDED: [&str; 4] = ["libc6", "libstdc++6", "libgcc-s1", "zlib1g"];
/// Says that a folder is whole, and what was unpacked.
const STAMP: &str = "versions";

/// Has a folder for each suite.
pub fn folder() -> PathBuf {
    workspace::target().join("libraries")
}

/// Downloads and unpacks them if that was not done; quick when it was.
///
/// # Errors
/// There is no apt-get with a Debian mirror, or a download fails.
pub fn ensure() -> Result<()> {
    for suite in SUITES {
        let folder = folder().join(suite);
        if folder.join(STAMP).is_file() {
            continue;
        }
        eprintln!(
            "downloading libraries of Debian {suite} into target/libraries: tests probe them"
        );
        let root = Root {
            suite,
            packages: &ALLOCATORS.map(str::to_owned),
            needed: &NEEDED,
            newest: None,
        };
        root.unpack(&folder, |root, packages| {
            archive::write(&root.join(STAMP), &(packages.join("\n") + "\n"))
        })
        .with_context(|| format!("cannot get the libraries of Debian {suite}"))?;
    }
    Ok(())
}
