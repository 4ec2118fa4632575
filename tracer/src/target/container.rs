//! Tells from the cgroup path whether a process runs in a container, and in which.

use std::io::Read as _;

/// A hint, not a proof: cgroup paths are a convention of container runtimes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// `docker`, `containerd`, `cri-o`, `podman`, `kubernetes`, or `container` where only the id is telling.
    pub runtime: &'static str,
    /// Hexadecimal id, shortened to the 12 digits that the runtimes' own tools show.
    pub id: String,
}

/// None outside of containers, and when the cgroup can't be read.
pub fn of(directory: &procfs::process::Process) -> Option<Container> {
    let mut text = Vec::new();
    directory
        .open_relative("cgroup")
        .ok()?
        .take(64 << 10)
        .read_to_end(&mut text)
        .ok()?;
    String::from_utf8_lossy(&text).lines().find_map(parse)
}

/// One line of `/proc/PID/cgroup`: `0::/kubepods.slice/…/cri-containerd-<64 digits>.scope`.
fn parse(line: &str) -> Option<Container> {
    let path = line.splitn(3, ':').nth(2)?;
    // The innermost one: containers can be nested.
    path.rsplit('/').find_map(|segment| {
        let id = segment
            .trim_end_matches(".scope")
            .rsplit(['-', ':'])
            .next()?;
        let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| Container {
            runtime: runtime(path, segment),
            id: id.chars().take(12).collect(),
        })
    })
}

fn runtime(path: &str, segment: &str) -> &'static str {
    if segment.starts_with("docker-") || path.contains("/docker/") {
        "docker"
    } else if segment.starts_with("cri-containerd-") || segment.contains(":cri-containerd:") {
        "containerd"
    } else if segment.starts_with("crio-") {
        "cri-o"
    } else if segment.starts_with("libpod-") {
        "podman"
    } else if path.contains("kubepods") {
        "kubernetes"
    } else {
        "container"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The paths of the common runtimes, with both versions of cgroups, are recognized.
    #[test]
    fn known_runtimes() {
        let id = "0123456789abcdef".repeat(4);
        for (line, runtime) in [
            (format!("0::/system.slice/docker-{id}.scope"), "docker"),
            (format!("12:memory:/docker/{id}"), "docker"),
            (
                format!("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope"),
                "containerd",
            ),
            (
                format!(
                    "0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"
                ),
                "containerd",
            ),
            (
                format!("3:cpu:/kubepods/burstable/pod0a1b/{id}"),
                "kubernetes",
            ),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container"),
                "podman",
            ),
            (format!("0::/kubepods.slice/crio-{id}.scope"), "cri-o"),
        ] {
            let found = parse(&line);
            assert_eq!(
                found,
                Some(Container {
                    runtime,
                    id: "0123456789ab".to_owned()
                }),
                "{line}"
            );
        }
    }

    /// Ordinary cgroups are no containers.
    #[test]
    fn no_container() {
        for line in [
            "0::/",
            "0::/user.slice/user-1000.slice/session-2.scope",
            "garbage",
            "",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    proptest! {
        /// Any path is survived, and an id is always twelve hexadecimal digits.
        #[test]
        fn any_path(path in "[ -~é]*", digits in "[0-9a-f]{60,68}") {
            for line in [format!("0::{path}"), format!("0::/{path}/docker-{digits}.scope{path}")] {
                if let Some(container) = parse(&line) {
                    prop_assert!(container.id.len() == 12 && container.id.bytes().all(|b| b.is_ascii_hexdigit()));
                }
            }
        }
    }
}
