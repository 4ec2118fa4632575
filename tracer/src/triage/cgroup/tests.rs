use super::*;

/// Of version 2 as the kernel writes them (5.18 and later), of a container near its limit by page cache; of version 1 as
/// recorded on Linux 6.18.
const V2: &str = include_str!("../../../../fuzz/seeds/cgroup/v2");
const V1: &str = include_str!("../../../../fuzz/seeds/cgroup/v1");

fn files_of(seed: &str, names: &[&'static str]) -> Files {
    names
        .iter()
        .copied()
        .zip(seed[1..].split('\0').map(str::to_owned))
        .collect()
}

/// Version 2: limit, usage, and what it consists of; shared memory is no page cache.
#[test]
fn version_two() {
    let found = judge(2, &files_of(V2, &FILES_V2)).unwrap();
    assert_eq!(
        (found.version, found.limit, found.usage),
        (2, Some(112 << 30), Some(110 << 30))
    );
    assert_eq!(found.high, None);
    assert_eq!(
        (found.anonymous, found.file),
        (Some(75 << 30), Some((35 << 30) - (100 << 20)))
    );
    assert_eq!(found.inactive_file, Some(28 << 30));
    assert_eq!(found.kernel, Some(512 << 20));
    assert_eq!(
        (found.limit_hits, found.oom_kills, found.pressure),
        (Some(421), Some(0), Some(1.25))
    );
}

/// Before 5.18 the kernel's memory is the sum of its parts.
#[test]
fn kernel_parts() {
    let mut files = files_of(V2, &FILES_V2);
    let stat = files.get_mut("memory.stat").unwrap();
    *stat = stat.replace("kernel 536870912\n", "");
    let parts = 20_971_520 + 209_715_200 + 147_456 + 300_000_000 + 4096;
    assert_eq!(judge(2, &files).unwrap().kernel, Some(parts));
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
