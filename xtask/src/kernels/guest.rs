//! What runs in the machine: its first program, and the script that runs the tests.

use std::fmt::Write as _;
use std::path::Path;

use crate::{cargo::Executable, workspace};

/// Lines of the machine that are no test's.
pub const BEGINS: &str = "== begins ";
pub const ENDS: &str = "== ends ";
pub const DONE: &str = "== done";

/// A test program, and which tests of it.
pub struct Run<'a> {
    pub program: &'a Executable,
    pub filters: &'static [&'static str],
}

/// Folders that tests write into. In the layer of memory from the start: below 6.1, the kernel can't take a folder of a
/// shared file system there by itself.
fn written() -> Vec<String> {
    let target = workspace::target();
    let folders = [target.join("tmp"), target.join("test-targets")];
    let ours = folders.iter().map(|folder| folder.display().to_string());
    let usual = ["/tmp", "/var/tmp", "/run", "/root"];
    ours.chain(usual.map(str::to_owned)).collect()
}

/// The machine's first program: a root file system of the shared one and memory, cgroups of version 2, then the tests.
pub fn init() -> String {
    let mut text = "#!/bin/busybox sh\n\
        export PATH=/bin\n\
        /bin/busybox --install -s /bin\n\
        mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n\
        for module in /modules/*; do insmod $module; done\n\
        mount -t virtiofs -o ro host /host || poweroff -f\n\
        mount -t tmpfs memory /memory\n\
        mkdir /memory/upper /memory/work\n"
        .to_owned();
    for folder in written() {
        let _ = writeln!(text, "mkdir -p '/memory/upper{folder}'");
    }
    text + "chmod 1777 /memory/upper/tmp /memory/upper/var/tmp\n\
        mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root || poweroff -f\n\
        for place in proc sys dev; do mount --move /$place /root/$place; done\n\
        mkdir -p /root/dev/pts /root/dev/shm\n\
        mount -t devpts pts /root/dev/pts; mount -t tmpfs shm /root/dev/shm; mount -t tmpfs run /root/run\n\
        mount -t tracefs tracing /root/sys/kernel/tracing\n\
        mount -t cgroup2 cgroup /root/sys/fs/cgroup\n\
        echo '+memory +cpu +pids' > /root/sys/fs/cgroup/cgroup.subtree_control\n\
        ln -s /proc/self/fd /root/dev/fd\n\
        ip link set lo up\n\
        cp /tests /root/run/tests\n\
        chroot /root /bin/sh /run/tests < /root/dev/null > /root/dev/ttyS1 2>&1\n\
        poweroff -f\n"
}

/// Runs each program in its package's folder, and says how it ended.
pub fn script(runs: &[Run<'_>], environment: &[(&'static str, String)]) -> String {
    let mut text = "export HOME=/root\n".to_owned();
    // Which tests run is the row's affair.
    for (name, value) in environment
        .iter()
        .filter(|(name, _)| *name != "OFFHEAP_FULL")
    {
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    for Run { program, filters } in runs {
        let folder = path(&program.package);
        let _ = writeln!(text, "cd {folder} && export CARGO_MANIFEST_DIR={folder}");
        let _ = writeln!(text, "echo '{BEGINS}{}'", program.name);
        let filters = filters.join(" ");
        let program = path(&program.path);
        let _ = writeln!(
            text,
            "{program} --test-threads=1 --show-output --color=never {filters}; echo \"{ENDS}$?\""
        );
    }
    let _ = writeln!(text, "echo '{DONE}'");
    text
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any value of a variable arrives as it is.
    #[test]
    fn values_are_quoted() {
        let text = script(&[], &[("A", "it's $HOME".to_owned())]);
        assert!(text.contains("export A='it'\\''s $HOME'\n"), "{text}");
        assert!(text.ends_with("echo '== done'\n"));
    }
}
