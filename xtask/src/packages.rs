//! What has to be on the machine, why, and which packages of Debian and Ubuntu bring it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{bpf_core, process};

/// One thing that is needed.
#[derive(Debug)]
pub struct Need {
    pub what: &'static str,
    pub why: &'static str,
    /// Sets of packages that bring it: as Debian 12 calls them, then as later releases do. The first that the machine's
    /// sources have is taken.
    pub choices: &'static [&'static [&'static str]],
    /// Whether it is there.
    pub met: fn() -> bool,
}

/// Links what cargo builds for this machine.
pub const LINKER: Need = Need {
    what: "a C compiler as linker (cc)",
    why: "rustc links programs with it",
    choices: &[&["gcc", "libc6-dev"]],
    met: || process::find_in_path("cc").is_some(),
};

/// Debian 12 carries a current compiler beside its old one, for browsers, under names of its own.
pub const BPF_CORE: Need = Need {
    what: "a Rust core library for BPF",
    why: "the probes are Rust programs that run in the kernel; rustup ships no core library for that target",
    choices: &[
        &["rustc-web", "libstd-rust-web-dev-bpf"],
        &["rustc", "libstd-rust-dev-bpf"],
    ],
    met: || bpf_core::find().is_some(),
};

pub const JDK: Need = Need {
    what: "a JDK (java, javac)",
    why: "the demo and the tests compile Java programs and watch them",
    choices: &[&["default-jdk-headless"]],
    met: || java_tool("java").is_some() && java_tool("javac").is_some(),
};

/// What only tests need: the tests of a missing one are skipped, and say so.
pub const TEST_EXTRAS: &[Need] = &[
    Need {
        what: "C headers",
        why: "the tests compile C programs with known allocations",
        choices: &[&["gcc", "libc6-dev"]],
        met: || process::find_in_path("gcc").is_some() && installed(&["libc6-dev"]),
    },
    Need {
        what: "jemalloc",
        why: "the tests preload it into a target",
        choices: &[&["libjemalloc2"]],
        met: || installed(&["libjemalloc2"]),
    },
    Need {
        what: "tcmalloc",
        why: "the tests preload it into a target",
        choices: &[&["libtcmalloc-minimal4"], &["libtcmalloc-minimal4t64"]],
        met: || installed(&["libtcmalloc-minimal4t64", "libtcmalloc-minimal4"]),
    },
    Need {
        what: "mimalloc",
        why: "the tests preload it into a target",
        choices: &[&["libmimalloc2.0"], &["libmimalloc3"]],
        met: || installed(&["libmimalloc2.0", "libmimalloc3"]),
    },
    Need {
        what: "zstd",
        why: "the tests trace its contexts",
        choices: &[&["libzstd1"]],
        met: || installed(&["libzstd1"]),
    },
    Need {
        what: "zstd for Java",
        why: "the tests trace its streams",
        choices: &[&["libzstd-jni-java"]],
        met: || installed(&["libzstd-jni-java"]),
    },
    Need {
        what: "OpenSSL 3",
        why: "the tests trace its connections",
        choices: &[&["libssl3"], &["libssl3t64"]],
        met: || installed(&["libssl3t64", "libssl3"]),
    },
    Need {
        what: "RocksDB",
        why: "the tests watch a JVM with a native store inside",
        choices: &[&["librocksdb-dev"]],
        met: || installed(&["librocksdb-dev"]),
    },
    Need {
        what: "musl-gcc",
        why: "the tests trace programs of another C library",
        choices: &[&["musl-tools"]],
        met: || process::find_in_path("musl-gcc").is_some(),
    },
    Need {
        what: "go",
        why: "the tests read profiles with `go tool pprof`",
        choices: &[&["golang-go"]],
        met: || process::find_in_path("go").is_some(),
    },
    Need {
        what: "a browser (chromium)",
        why: "the tests look at report.html",
        choices: &[&["chromium"]],
        met: || {
            let names = [
                "chromium",
                "chromium-browser",
                "google-chrome",
                "google-chrome-stable",
            ];
            names
                .iter()
                .any(|name| process::find_in_path(name).is_some())
        },
    },
    Need {
        what: "qemu",
        why: "the tests run on other kernels",
        choices: &[&["qemu-system-x86"]],
        met: || process::find_in_path("qemu-system-x86_64").is_some(),
    },
    Need {
        what: "virtiofsd",
        why: "the tests share this root folder with virtual machines",
        choices: &[&["virtiofsd"], &["qemu-system-common"]],
        met: || {
            let places = ["/usr/libexec", "/usr/lib", "/usr/lib/qemu"];
            places
                .iter()
                .any(|place| process::is_executable(&Path::new(place).join("virtiofsd")))
        },
    },
    Need {
        what: "Prometheus (prometheus, promtool)",
        why: "the tests let it scrape the metrics of `offheap watch`",
        choices: &[&["prometheus"]],
        met: || {
            ["prometheus", "promtool"]
                .iter()
                .all(|program| process::find_in_path(program).is_some())
        },
    },
];

/// A tool of the JDK: in JAVA_HOME, else in PATH.
pub fn java_tool(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin").join(name));
    home.filter(|tool| process::is_executable(tool))
        .or_else(|| process::find_in_path(name))
}

/// The packages of the first choice that `known` has in full.
pub fn choose(need: &Need, known: &BTreeSet<String>) -> Option<&'static [&'static str]> {
    need.choices
        .iter()
        .copied()
        .find(|choice| choice.iter().all(|package| known.contains(*package)))
}

/// The choice to name where no package list can be asked, from the system's `os-release`.
pub fn usual(need: &Need, os_release: &str) -> &'static [&'static str] {
    let debian_12 = os_release
        .lines()
        .any(|line| line == "VERSION_CODENAME=bookworm");
    let named = if debian_12 {
        need.choices.first()
    } else {
        need.choices.last()
    };
    named.copied().unwrap_or_default()
}

/// Whether dpkg has at least one of `packages` installed; also false where there is no dpkg.
fn installed(packages: &[&str]) -> bool {
    // dpkg-query fails as soon as one of the packages is unknown, and still prints the others.
    let mut query = Command::new("dpkg-query");
    query
        .args(["-W", "-f=${db:Status-Status}\n"])
        .args(packages);
    let Ok(output) = query.output() else {
        return false;
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .any(|status| status == "installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(packages: &[&str]) -> BTreeSet<String> {
        packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect()
    }

    /// Debian 12 knows both compilers but a BPF core only for the newer one: that pair is chosen.
    #[test]
    fn debian_12_takes_the_compiler_that_has_a_bpf_core() {
        let known = known(&["rustc", "rustc-web", "libstd-rust-web-dev-bpf"]);
        assert_eq!(
            choose(&BPF_CORE, &known),
            Some(&["rustc-web", "libstd-rust-web-dev-bpf"][..])
        );
    }

    /// A later release has the plain names.
    #[test]
    fn later_releases_take_the_plain_names() {
        let known = known(&["rustc", "libstd-rust-dev-bpf"]);
        assert_eq!(
            choose(&BPF_CORE, &known),
            Some(&["rustc", "libstd-rust-dev-bpf"][..])
        );
    }

    /// Without package lists the system's own name decides.
    #[test]
    fn os_release_decides_without_lists() {
        let bookworm = "ID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(
            usual(&BPF_CORE, bookworm),
            ["rustc-web", "libstd-rust-web-dev-bpf"]
        );
        assert_eq!(
            usual(&BPF_CORE, "ID=ubuntu\n"),
            ["rustc", "libstd-rust-dev-bpf"]
        );
    }

    /// A choice of which one package is missing is not taken.
    #[test]
    fn half_a_choice_is_no_choice() {
        assert_eq!(
            choose(&BPF_CORE, &known(&["rustc", "libstd-rust-web-dev-bpf"])),
            None
        );
    }
}
