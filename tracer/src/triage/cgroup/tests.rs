use super::*;

/// Recorded: version 2 of a nested cgroup with a limit of 96 MiB, `memory.high` of 90 MiB, 5 MiB of shared memory, some anonymous
/// memory, and page cache up to the limit, on Linux 5.15.0 (Ubuntu 22.04), 6.1.176 (Debian 12) and 6.12.107 (Debian 13);
/// version 1 on Linux 6.18.
const V2: [(&str, &str); 3] = [
    (
        "5.15",
        include_str!("../../../../fuzz/seeds/cgroup/v2-5.15"),
    ),
    ("6.1", include_str!("../../../../fuzz/seeds/cgroup/v2-6.1")),
    (
        "6.12",
        include_str!("../../../../fuzz/seeds/cgroup/v2-6.12"),
    ),
];
const V1: &str = include_str!("../../../../fuzz/seeds/cgroup/v1");

fn files_of(seed: &str, names: &[&'static str]) -> Files {
    names
        .iter()
        .copied()
        .zip(seed[1..].split('\0').map(str::to_owned))
        .collect()
}

/// Version 2 of each kernel: limit, usage, and what it consists of, which adds up to the usage but for what the kernel has
/// not counted yet; shared memory is no page cache.
#[test]
fn version_two() {
    for (kernel, recorded) in V2 {
        let found = judge(2, &files_of(recorded, &FILES_V2)).unwrap();
        assert_eq!(
            (found.version, found.limit, found.high),
            (2, Some(96 << 20), Some(90 << 20))
        );
        assert_eq!((found.shared, found.swap), (Some(5 << 20), Some(0)));
        assert_eq!((found.limit_hits, found.oom_kills), (Some(0), Some(0)));
        assert!(found.pressure.is_some_and(|share| share > 0.0), "{kernel}");
        let parts = [found.anonymous, found.file, found.shared, found.kernel].map(Option::unwrap);
        let (sum, usage) = (parts.iter().sum::<u64>(), found.usage.unwrap());
        assert!(
            sum.abs_diff(usage) < usage / 50,
            "{kernel}: {parts:?}, {usage}"
        );
        // Nearly all of it can be dropped at once.
        assert!(
            found.inactive_file > Some(55 << 20) && parts[1] > 60 << 20,
            "{kernel}"
        );
    }
}

/// Before 5.18 the kernel's memory is the sum of its parts.
#[test]
fn kernel_parts() {
    let kernel = |recorded| judge(2, &files_of(recorded, &FILES_V2)).unwrap().kernel;
    assert!(!V2[0].1.contains("\nkernel "));
    assert_eq!(kernel(V2[0].1), Some(65_536 + 208_896 + 1_059_512));
    assert_eq!(kernel(V2[1].1), Some(1_171_456));
}

/// Version 1: no limit is none, and the cgroup's numbers are those with the cgroups below it.
#[test]
fn version_one() {
    let mut files = files_of(V1, &FILES_V1);
    let found = judge(1, &files).unwrap();
    assert_eq!((found.version, found.limit), (1, None));
    assert!(found.usage > Some(1 << 20) && found.anonymous.is_some() && found.file.is_some());
    files.insert("memory.limit_in_bytes", "4294967296\n".to_owned());
    assert_eq!(judge(1, &files).unwrap().limit, Some(4 << 30));
}

/// Version 1 counts a limit that is hit where it was hit: as one of memory, or of memory and swap together.
#[test]
fn limits_of_memory_and_swap() {
    let mut files = files_of(V1, &FILES_V1);
    files.insert("memory.failcnt", "3\n".to_owned());
    assert_eq!(judge(1, &files).unwrap().limit_hits, Some(3));
    files.insert("memory.memsw.failcnt", "109\n".to_owned());
    assert_eq!(judge(1, &files).unwrap().limit_hits, Some(112));
}

/// Files that say nothing about memory are no cgroup.
#[test]
fn nothing() {
    for version in [1, 2] {
        assert_eq!(judge(version, &Files::new()), None);
        let files = Files::from([
            ("memory.stat", "anon".to_owned()),
            ("memory.max", "max".to_owned()),
        ]);
        assert_eq!(judge(version, &files), None);
    }
}

/// The path and the mount of each version are found among the others.
#[test]
fn paths_and_mounts() {
    let membership = "9:name=systemd:/\n4:cpu,memory:/docker/a:b\n0::/system.slice/x.service\n";
    assert_eq!(path_of(membership, 1), Some("/docker/a:b"));
    assert_eq!(path_of(membership, 2), Some("/system.slice/x.service"));
    assert_eq!(path_of("nonsense\n1:\n", 2), None);
    let mounts = "31 24 0:26 /docker /sys/fs/cgroup/memory ro,nosuid shared:1 - cgroup cgroup rw,memory\n\
                  30 24 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n25 1 0:1 / /proc rw - proc proc rw\n";
    let [mount] = &mounts_of(mounts, 1)[..] else {
        panic!()
    };
    assert_eq!(
        (mount.root.as_str(), mount.point.to_str()),
        ("/docker", Some("/sys/fs/cgroup/memory"))
    );
    assert_eq!(mounts_of(mounts, 2).len(), 1);
}

/// A cgroup as recorded on Linux 6.12, from the host and from the cgroup namespace of the container that it is: the same
/// mount has another root, and a process outside has a path that leads out of it.
#[test]
fn namespaces() {
    const OWN: &str = "/kubepods.slice/kubepods-burstable.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
    let host = "35 23 0:30 / /sys/fs/cgroup rw,relatime - cgroup2 c rw\n";
    let container = format!("44 41 0:30 {OWN} /sys/fs/cgroup rw,relatime - cgroup2 c rw\n");
    let roots = [host, &container].map(|line| mounts_of(line, 2).remove(0).root);
    assert_eq!(roots, ["/", OWN]);
    assert_eq!(path_of(&format!("0::{OWN}\n"), 2), Some(OWN));
    let outside = path_of("0::/../../..\n", 2).unwrap();
    let mount = Mount {
        root: "/".to_owned(),
        point: PathBuf::from("/"),
    };
    assert_eq!(from_host(&mount, outside, 2), None);
}

/// A limit above counts, and a path out of what is mounted does not lead anywhere.
#[test]
fn limits_above() {
    let top = tempfile::tempdir().unwrap();
    let inner = top.path().join("pod/container");
    std::fs::create_dir_all(&inner).unwrap();
    let write =
        |folder: &Path, name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write(&inner, "memory.current", "1000\n");
    write(&inner, "memory.max", "max\n");
    write(&top.path().join("pod"), "memory.max", "5000\n");
    let mount = Mount {
        root: "/".to_owned(),
        point: top.path().to_owned(),
    };
    let found = from_host(&mount, "/pod/container", 2).unwrap();
    assert_eq!(
        (found.usage, found.limit, found.path.as_str()),
        (Some(1000), Some(5000), "/pod/container")
    );
    assert_eq!(from_host(&mount, "/../pod/container", 2), None);
    assert_eq!(from_host(&mount, "/other", 2), None);
}
