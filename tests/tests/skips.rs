//! A skip is checked itself: what is there must not be skipped, and what is not there must be named.

use std::fs;
use std::path::Path;
use std::process::Command;

use offheap_tests::jdk::{Jdk, RELEASES};
use offheap_tests::session::{is_root, library_is_found, missing_privilege, program};
use offheap_tests::sources::has_header;
use offheap_tests::{CFlags, c_program, classpath, classpath_8, sources};

/// Found another way than the harness finds it.
fn shell_finds(name: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Programs that the shell finds are found, so that no test skips for want of them.
#[test]
fn present_programs_do_not_skip() {
    for name in [
        "cc",
        "javac",
        "java",
        "strip",
        "unshare",
        "mount",
        "umount",
        "sh",
        "openssl",
        "setpriv",
        "prometheus",
        "promtool",
        "systemd-analyze",
        "go",
        "chromium",
    ] {
        assert_eq!(program(name).is_some(), shell_finds(name), "{name}");
    }
    assert!(program("no-such-program-anywhere").is_none());
}

/// Libraries that lie in the linker's folders are found, and an invented one is not.
#[test]
fn present_libraries_do_not_skip() {
    let folders = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(Path::new);
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    for name in [
        "libz.so.1",
        "libjemalloc.so.2",
        "libtcmalloc_minimal.so.4",
        "libmimalloc.so.2",
    ] {
        let lies = folders.iter().any(|folder| {
            folder.join(name).exists() || folder.join(&multiarch).join(name).exists()
        });
        assert!(
            !lies || library_is_found(name),
            "{name} is there and would be skipped"
        );
    }
    assert!(!library_is_found("libno-such-library.so.1"));
}

/// A header that lies in the compiler's folder is found, so that no scenario is missing for want of it.
#[test]
fn present_headers_do_not_skip() {
    if !shell_finds("cc") {
        return;
    }
    let lies = Path::new("/usr/include/rocksdb/c.h").exists();
    assert_eq!(has_header("rocksdb/c.h"), lies);
    assert!(has_header("stdio.h") && !has_header("no/such/header.h"));
}

/// Each folder of a JDK that tests know is one that they run.
#[test]
fn present_jdks_do_not_skip() {
    let Some(folder) = std::env::var_os("OFFHEAP_JDKS") else {
        assert_eq!(Jdk::downloaded(), []);
        return;
    };
    let there = RELEASES
        .iter()
        .filter(|release| Path::new(&folder).join(release).exists());
    let used = Jdk::downloaded();
    assert_eq!(used.len(), there.count(), "{used:?}");
    assert_eq!(Jdk::installed().is_some(), shell_finds("java"));
}

/// Root on a kernel with BTF and uprobes lacks nothing but perhaps the binary; anybody else lacks root.
#[test]
fn a_kernel_that_can_does_not_skip() {
    let missing = missing_privilege();
    if !is_root() {
        assert_eq!(missing.as_deref(), Some("root"));
        return;
    }
    let kernel_can = Path::new("/sys/kernel/btf/vmlinux").exists()
        && fs::read_dir("/sys/bus/event_source/devices").is_ok_and(|mut found| {
            found.any(|entry| entry.is_ok_and(|entry| entry.file_name() == "uprobe"))
        });
    let confined = !can_admin();
    if kernel_can && !confined && shell_finds("cc") {
        let named = std::env::var_os("OFFHEAP_BIN").is_some_and(|path| Path::new(&path).is_file());
        assert_eq!(
            missing.is_none(),
            named,
            "only the binary may be missing: {missing:?}"
        );
    }
}

/// CAP_SYS_ADMIN, bit 21 of the effective set.
fn can_admin() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set >> 21 & 1 == 1)
}

/// Every target of this crate compiles here, without a warning that would hide another.
#[test]
fn every_source_compiles() {
    if !shell_finds("cc") {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("c");
    // Libraries, and what is linked with one of them.
    let others = [
        "plugin",
        "forward",
        "blocks",
        "witness",
        "chosen",
        "chooses",
        "inlined",
        "nocfi",
        "wrongcfi",
        "finder",
        "objects_jni",
        "objects_lib",
        "store_jni",
    ];
    for entry in fs::read_dir(folder)
        .expect("the folder of the C targets")
        .flatten()
    {
        let path = entry.path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a source has a name");
        if path.extension().is_some_and(|extension| extension == "c") && !others.contains(&name) {
            c_program(
                name,
                CFlags {
                    compile: &["-Werror"],
                    ..CFlags::default()
                },
            );
        }
    }
    for name in ["plugin", "forward", "chosen", "wrongcfi", "objects_lib"] {
        sources::c_library(
            name,
            CFlags {
                compile: &["-Werror"],
                ..CFlags::default()
            },
        );
    }
    if shell_finds("javac") {
        for folder in [classpath(), classpath_8()] {
            assert!(folder.is_some_and(|folder| folder.join("targets/Streams.class").is_file()));
        }
    }
}
