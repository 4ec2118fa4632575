//! Whether a process is a HotSpot JVM, and which, as far as its files tell. Cheap: no symbol is read.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use super::{root, text};

/// Most that is read of a list of mappings: the default limit of 65,530 mappings with the longest usual paths.
const MAPS_BYTES: u64 = 64 << 20;
/// Most that is read of a `release` file; those of full JDKs have 2 KiB.
const RELEASE_BYTES: u64 = 64 << 10;

/// A JVM by its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jvm {
    /// Path of `libjvm.so` as the target sees it.
    pub libjvm: String,
    pub release: Release,
}

/// What the file `release` of the JDK says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    Known {
        version: String,
        implementor: Option<String>,
    },
    /// The JDK was replaced under the running JVM: what lies there now is another one.
    Replaced,
    /// There is no such file, or it does not say.
    Unknown,
}

/// The JVM that a process has mapped, if any.
///
/// # Errors
/// When the list of mappings can't be read: the process is not ours, or has ended.
pub fn find(process: &procfs::process::Process) -> io::Result<Option<Jvm>> {
    let found = mapped_names(process)?.find(|name| file_name(name) == Some("libjvm.so"));
    Ok(found.map(|name| match name.strip_suffix(" (deleted)") {
        Some(path) => Jvm {
            libjvm: path.to_owned(),
            release: Release::Replaced,
        },
        None => Jvm {
            release: release(process, &name).unwrap_or(Release::Unknown),
            libjvm: name,
        },
    }))
}

/// The names of all mappings in the order of addresses: paths as the target sees them, and `[heap]` and the like.
///
/// # Errors
/// As [`find`].
pub fn mapped_names(
    process: &procfs::process::Process,
) -> io::Result<impl Iterator<Item = String> + use<>> {
    let maps = process
        .open_relative("maps")
        .map_err(super::process::into_io)?;
    let lines = BufReader::new(maps.take(MAPS_BYTES))
        .split(b'\n')
        .map_while(Result::ok);
    Ok(lines.filter_map(|line| pathname(&String::from_utf8_lossy(&line)).map(str::to_owned)))
}

/// The sixth column of a line of `/proc/PID/maps`; it may contain blanks.
fn pathname(line: &str) -> Option<&str> {
    let mut rest = line;
    for _ in 0..5 {
        rest = rest.trim_start().split_once(' ')?.1;
    }
    Some(rest.trim_start()).filter(|name| !name.is_empty())
}

/// The last component of a mapped file's path.
pub fn file_name(mapped: &str) -> Option<&str> {
    let path = mapped.strip_suffix(" (deleted)").unwrap_or(mapped);
    path.starts_with('/')
        .then(|| path.rsplit('/').next())
        .flatten()
}

/// Looks for `release` above libjvm.so: three folders up since JDK 9 (`lib/server`), up to five in JDK 8
/// (`jre/lib/amd64/server`).
fn release(process: &procfs::process::Process, libjvm: &str) -> Option<Release> {
    Path::new(libjvm)
        .ancestors()
        .skip(3)
        .take(3)
        .find_map(|home| {
            let mut bytes = Vec::new();
            root::open(process, &home.join("release"))
                .ok()?
                .take(RELEASE_BYTES)
                .read_to_end(&mut bytes)
                .ok()?;
            parse_release(&String::from_utf8_lossy(&bytes))
        })
}

fn parse_release(file: &str) -> Option<Release> {
    let value = |key: &str| {
        let line = file
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(text::printable(line.trim().trim_matches('"').as_bytes()))
            .filter(|value| !value.is_empty())
    };
    Some(Release::Known {
        version: value("JAVA_VERSION")?,
        implementor: value("IMPLEMENTOR"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The name column is found behind any width of the numbers, with its blanks.
    #[test]
    fn name_column() {
        let line = "7f1c2a000000-7f1c2b000000 r-xp 00001000 fd:01 42                         /opt/my jdk/libjvm.so (deleted)";
        assert_eq!(pathname(line), Some("/opt/my jdk/libjvm.so (deleted)"));
        assert_eq!(
            file_name("/opt/my jdk/libjvm.so (deleted)"),
            Some("libjvm.so")
        );
        assert_eq!(
            pathname("7ffd1000-7ffd2000 rw-p 00000000 00:00 0    [stack]"),
            Some("[stack]")
        );
        assert_eq!(pathname("7ffd1000-7ffd2000 rw-p 00000000 00:00 0 "), None);
        assert_eq!(pathname("nonsense"), None);
        assert_eq!(file_name("[heap]"), None);
    }

    /// Version and implementor are taken from a release file; a file without a version tells nothing.
    #[test]
    fn release_file() {
        let file = "IMPLEMENTOR=\"Eclipse Adoptium\"\nJAVA_VERSION=\"17.0.15\"\nJAVA_VERSION_DATE=\"2025-04-15\"\n";
        let expected = Release::Known {
            version: "17.0.15".into(),
            implementor: Some("Eclipse Adoptium".into()),
        };
        assert_eq!(parse_release(file), Some(expected));
        let old = Release::Known {
            version: "1.8.0_392".into(),
            implementor: None,
        };
        assert_eq!(parse_release("JAVA_VERSION=\"1.8.0_392\"\n"), Some(old));
        assert_eq!(parse_release("IMPLEMENTOR=\"x\"\n"), None);
        assert_eq!(parse_release("\0\u{fffd}"), None);
    }

    proptest! {
        /// Any line and any file is survived.
        #[test]
        fn any_text(text in "[ -~\n\"=é]*") {
            let _ = pathname(&text);
            let _ = file_name(&text);
            let _ = parse_release(&text);
            let _ = parse_release(&format!("JAVA_VERSION={text}"));
        }
    }
}
